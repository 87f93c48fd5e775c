//! The plan in force, and the rule by which another takes its place.

use std::io;
use std::path::{Path, PathBuf};

use naru_model::OutOfTurn;
use naru_runtime::durable::replace_file;
use naru_runtime::keys::VerifyingKeys;

use super::document::{CapacityPlan, PlanFlaw};
use super::signed::{self, PLAN_BYTES_MAX};
use crate::policy::{Blueprint, Refusal};

/// The file's mode: a plan is no secret, and only the edge writes it.
const MODE: u32 = 0o644;

/// Why a plan was not taken. The plan before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum PlanRefused {
    /// Longer than any plan: the sender is at fault.
    #[error("a signed plan has at most {PLAN_BYTES_MAX} bytes, not {bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Not what a plan looks like: control is at fault, or it is of a later version than this edge.
    #[error("not a plan that this edge can read")]
    Malformed(#[source] serde_json::Error),
    /// Not signed by a key of control that this edge knows: whoever sent it is at fault, or the keys were not handed out.
    #[error("not signed by a key that this edge knows")]
    NotSigned,
    /// It does not follow the one in force: control must make a new one.
    #[error(transparent)]
    OutOfTurn(#[from] OutOfTurn),
    /// What it rents cannot be: control is at fault.
    #[error("{}", each(.0))]
    Flawed(Vec<PlanFlaw>),
    /// It does not fit what the edge is configured for: as the policy says.
    #[error("{}", .0.iter().map(|refusal| refusal.flaw.to_string()).collect::<Vec<_>>().join("; "))]
    Unfit(Vec<Refusal>),
    /// The disk refused to keep it: the edge's machine is at fault, and a retry helps when the disk has space again.
    #[error("{path}: the plan cannot be kept")]
    Disk {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// All flaws, each with its cause.
fn each(flaws: &[PlanFlaw]) -> String {
    let with_cause = |flaw: &PlanFlaw| match flaw {
        PlanFlaw::Address { fault, .. } => format!("{flaw}: {fault}"),
        _ => flaw.to_string(),
    };
    flaws.iter().map(with_cause).collect::<Vec<_>>().join("; ")
}

impl PlanRefused {
    /// The status that answers it.
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::Malformed(_) => 400,
            Self::NotSigned => 403,
            Self::OutOfTurn(_) => 409,
            Self::Flawed(_) | Self::Unfit(_) => 422,
            Self::Disk { .. } => 503,
        }
    }

    /// Whether the same plan may be taken later.
    pub fn retry_helps(&self) -> bool {
        matches!(self, Self::Disk { .. })
    }
}

/// What became of a plan that was not refused.
#[derive(Debug)]
pub enum Offered {
    /// It is in force, and kept: the edge's configuration with what it rents.
    Taken(Box<Blueprint>),
    /// It was in force already.
    Same,
}

/// The plan in force.
#[derive(Debug)]
pub struct PlanBook {
    keys: VerifyingKeys,
    path: PathBuf,
    current: Option<CapacityPlan>,
}

impl PlanBook {
    /// The plan that is kept in a file, none if there is no file. `keys` are those of control.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a plan that control signed: without it an older plan could be taken.
    pub fn open(path: &Path, keys: VerifyingKeys) -> Result<Self, PlanRefused> {
        let current = match read(path) {
            Ok(bytes) => Some(signed::open(&bytes, &keys)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(PlanRefused::Disk { path: path.to_owned(), source }),
        };
        Ok(Self { keys, path: path.to_owned(), current })
    }

    /// The plan in force.
    pub fn current(&self) -> Option<&CapacityPlan> {
        self.current.as_ref()
    }

    /// Its generation; 0 while there is none, as the decision log has it.
    pub fn generation(&self) -> u64 {
        self.current.as_ref().map_or(0, |plan| plan.generation.get())
    }

    /// The edge's own configuration with what the plan in force rents: at a start, and when the configuration changes.
    ///
    /// # Errors
    /// What of the plan does not fit the configuration.
    pub fn added_to(&self, configured: &Blueprint) -> Result<Blueprint, Vec<PlanFlaw>> {
        self.current.as_ref().map_or_else(|| Ok(configured.clone()), |plan| plan.added_to(configured))
    }

    /// Takes a signed plan, if it is later than the one in force and nothing is wrong with it. `check` says whether the
    /// policy could be made from the result; it must change nothing. Blocks on the disk: the plan is kept before it is
    /// in force, so that a restart does not go back.
    ///
    /// # Errors
    /// Why not; the plan before stays in force.
    pub fn offer(
        &mut self,
        bytes: &[u8],
        configured: &Blueprint,
        check: impl FnOnce(&Blueprint) -> Result<(), Vec<Refusal>>,
    ) -> Result<Offered, PlanRefused> {
        let offered = signed::open(bytes, &self.keys)?;
        if let Some(current) = &self.current
            && !current.generation.gives_way_to(offered.generation, offered == *current)?
        {
            return Ok(Offered::Same);
        }
        let blueprint = offered.added_to(configured).map_err(PlanRefused::Flawed)?;
        check(&blueprint).map_err(PlanRefused::Unfit)?;
        replace_file(&self.path, bytes, MODE)
            .map_err(|source| PlanRefused::Disk { path: self.path.clone(), source })?;
        self.current = Some(offered);
        Ok(Offered::Taken(Box::new(blueprint)))
    }
}

/// A file no longer than a plan, so that another file in its place costs no memory.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?.take(PLAN_BYTES_MAX as u64 + 1);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
