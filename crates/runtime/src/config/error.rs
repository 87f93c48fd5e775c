//! What is wrong with a configuration, where, and how to mend it.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// What is wrong with one value, and what to write instead. Both are clauses without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, as a predicate of the key: `is 0, below 1`.
    pub what: String,
    /// What to do about it: `use a number from 1 to 9`.
    pub fix: String,
}

impl Mistake {
    /// A mistake from its two clauses.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// Where a value came from. The order is the order of the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A place in a file; line and column count from one, the column in characters.
    File {
        /// The file as it was named.
        path: Arc<Path>,
        /// Line of the key or value.
        line: usize,
        /// Column of the key or value.
        column: usize,
    },
    /// A file that could not be read or is not finished: no place inside it.
    WholeFile {
        /// The file as it was named.
        path: Arc<Path>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A command-line flag.
    Flag {
        /// The flag with its dashes.
        flag: String,
    },
    /// Nothing gave the value: the built-in default, or its absence.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::WholeFile { path } => write!(f, "{}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
            Self::BuiltIn => f.write_str("not given"),
        }
    }
}

/// One mistake with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value stands, or should stand.
    pub origin: Origin,
    /// The dotted key, as `group[1].name`; empty for the file itself.
    pub key: String,
    /// What is wrong and what to do.
    pub mistake: Mistake,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        write!(f, "{}\n  fix: {}", self.mistake.what, self.mistake.fix)
    }
}

/// Every mistake of one configuration. The operator is at fault; a retry without a change cannot help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    subject: String,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    /// What a process exits with when its configuration is refused (also clap's code for bad usage).
    pub const EXIT_CODE: u8 = 2;

    /// Sorts the problems into the order of the report: files by line, then environment, flags, missing keys.
    pub(crate) fn new(subject: String, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        Self { subject, problems }
    }

    /// The mistakes in the order of the report.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// [`Self::EXIT_CODE`] for `main`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(Self::EXIT_CODE)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let plural = if self.problems.len() == 1 { "" } else { "s" };
        write!(f, "{} mistake{plural} in the configuration of {}", self.problems.len(), self.subject)
    }
}

impl std::error::Error for ConfigErrors {}
