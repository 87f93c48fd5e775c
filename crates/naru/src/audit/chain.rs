//! Reading what an audit has written on this machine.

use std::path::{Path, PathBuf};

use naru_audit::certificate::{Certificate, Chain};

/// The input is at fault.
pub const BAD_INPUT: u8 = 2;
/// What was asked for cannot be read.
pub const NOT_READ: u8 = 3;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ChainFailure {
    /// A file that cannot be read.
    #[error("{path}: cannot be read; is it the state directory of an audit?")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A line that is no certificate.
    #[error("{path}: holds a line that is no certificate; run naru audit verify")]
    Line {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// There is no such certificate.
    #[error("there is no certificate {number}; the chain has {count}")]
    None {
        /// The one asked for.
        number: u64,
        /// How many there are.
        count: usize,
    },
}

/// The text of a chain.
pub fn text(state: &Path) -> Result<String, ChainFailure> {
    let path = state.join(Chain::file_name());
    std::fs::read_to_string(&path).map_err(|source| ChainFailure::Io { path, source })
}

/// One certificate of a chain.
pub fn certificate(state: &Path, number: u64) -> Result<Certificate, ChainFailure> {
    let text = text(state)?;
    let line = usize::try_from(number).ok().and_then(|number| text.lines().nth(number));
    let line = line.ok_or(ChainFailure::None { number, count: text.lines().count() })?;
    let path = state.join(Chain::file_name());
    serde_json::from_str(line).map_err(|source| ChainFailure::Line { path, source })
}
