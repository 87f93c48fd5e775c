//! Mistakes in a scenario file.

use std::fmt;
use std::ops::Range;

/// One mistake: where, what, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub fix: String,
}

impl Mistake {
    pub(super) fn new(text: &str, at: Range<usize>, what: String, fix: String) -> Self {
        let before = &text[..text.floor_char_boundary(at.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Self { line, column, what, fix }
    }
}

/// Every mistake of one file, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes {
    /// The file's name as the user gave it.
    pub file: String,
    /// At least one.
    pub list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(out, "{}: {count} {noun}", self.file)?;
        for mistake in &self.list {
            write!(out, "\n  {}:{}:{}: {}", self.file, mistake.line, mistake.column, mistake.what)?;
            write!(out, "\n      fix: {}", mistake.fix)?;
        }
        Ok(())
    }
}
