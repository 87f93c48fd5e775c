//! The last things that happened, kept only while a failure is replayed.

use std::collections::VecDeque;

use naru_relay::sequence::Millis;

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
