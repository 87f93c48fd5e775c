//! Steps at which a test kills the process, as `kill -9` does.

use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Every step, in the order of a thing's life.
pub const STEPS: [&str; 10] =
    ["applying", "applied", "asking", "created", "kept", "ready", "letting-go", "releasing", "deleted", "gone"];

/// Where to crash, if anywhere.
#[derive(Debug, Default)]
pub struct Crash {
    step: String,
    left: AtomicU32,
}

impl Crash {
    /// From `STEP` or `STEP:N`, for the N-th time.
    pub fn at(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::default() };
        let (step, times) = text.split_once(':').unwrap_or((text, "1"));
        Self { step: step.to_owned(), left: AtomicU32::new(times.parse().unwrap_or(1)) }
    }

    /// Ends the process here, if this is the step and the time.
    pub fn here(&self, step: &str) {
        if self.step == step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nothing is flushed, told or cleaned up; if the signal cannot be sent, the test sees that nothing died.
            if kill(Pid::this(), Signal::SIGKILL).is_err() {
                tracing::error!(step, "cannot end itself");
            }
        }
    }
}
