//! The rehearsal: a scenario is played on this machine with faults, and judged.
//!
//! Owns scenario files, the seeded plan of operations and faults, the open-loop load, the history of every operation,
//! the checkers, the verdict and the report. Invariant: the judge believes nobody. An acknowledged operation is what a
//! client saw acknowledged; the log's contents are read at the end by a code path of its own; checkers are pure functions
//! over that [`history::History`]. Nothing depends on this crate, and it depends on no service's code: services are
//! processes met at their HTTP contract and at their topic.

pub mod away;
pub mod campaign;
pub mod check;
pub mod children;
pub mod clock;
pub mod crowd;
pub mod expectations;
pub mod history;
pub mod judge;
pub mod load;
pub mod measure;
pub mod observe;
pub mod plan;
pub mod progress;
pub mod pulse;
pub mod read_back;
mod record_value;
pub mod recorder;
pub mod relay_status;
pub mod report;
pub mod run;
pub mod sabotage;
pub mod scenario;
pub mod service_process;
pub mod state;
pub mod tables;
