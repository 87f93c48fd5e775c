//! The last things that happened, kept only while a failure is replayed.

use std::collections::VecDeque;

use naru_relay::sequence::{Action, Millis};

/// How many lines are kept when nothing else is said: enough to see how a batch came to be where it is.
const LINES_MAX: usize = 400;

/// What happened, newest last.
#[derive(Debug, Default)]
pub struct Trace {
    lines_max: usize,
    lines: VecDeque<String>,
}

impl Trace {
    pub fn new(on: bool) -> Self {
        #[allow(clippy::disallowed_methods)] // how much is shown of a test is not the binary's configuration
        let wanted = std::env::var("NARU_SIMULATE_LINES").ok().and_then(|lines| lines.parse().ok());
        Self { lines_max: if on { wanted.unwrap_or(LINES_MAX) } else { 0 }, lines: VecDeque::new() }
    }

    pub fn note(&mut self, now: Millis, line: impl FnOnce() -> String) {
        if self.lines_max > 0 {
            if self.lines.len() == self.lines_max {
                self.lines.pop_front();
            }
            self.lines.push_back(format!("{now:>7} {}", line()));
        }
    }

    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.iter()
    }
}

/// An action without its bytes.
pub fn told(action: &Action) -> String {
    match action {
        Action::Write { order, side, batch } => {
            let header = batch.header;
            let (id, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
            format!("Write {order:?} {side} {id}:{epoch}:{sequence} x{}", header.record_count)
        }
        Action::Keep { order, checkpoint } => format!("Keep {order:?} gate {}", checkpoint.gate),
        Action::Gate { gate, batches } => format!("Gate {gate} with {}", batches.len()),
        other => format!("{other:?}"),
    }
}
