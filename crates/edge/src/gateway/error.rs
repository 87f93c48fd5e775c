//! What can be wrong with a gateway's configuration, keys and files.

use std::path::PathBuf;

use naru_runtime::config::Problem;
use naru_runtime::keys::KeyError;

use crate::adapter::AuthorityError;
use crate::decision::DecisionLogError;
use crate::plan::{PlanFlaw, PlanRefused};

/// Why a gateway could not be opened, or did not take a change.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A file of keys: the operator's to mend.
    #[error("keys cannot be used")]
    Key(#[from] KeyError),
    /// A key of control that is none.
    #[error("`keys.control` holds {found:?}, which is not 64 hexadecimal digits")]
    ControlKey {
        /// What was given.
        found: String,
    },
    /// The decision log, without which no request is carried.
    #[error(transparent)]
    Decisions(#[from] DecisionLogError),
    /// The plan that is kept cannot be read, so that an older one could be taken.
    #[error("the plan in {} cannot be used", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: PlanRefused,
    },
    /// The plan that is in force does not fit the configuration.
    #[error("the plan in force does not fit the configuration: {}", listed(flaws))]
    PlanDoesNotFit {
        /// What of it does not.
        flaws: Vec<PlanFlaw>,
    },
    /// The policy refuses what the configuration and the plan in force make together.
    #[error("{}", listed(problems))]
    Unfit {
        /// Everything that is wrong, with its place.
        problems: Vec<Problem>,
    },
    /// The authority of a pool.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A setting that cannot change while the edge runs.
    #[error("`{field}` cannot be changed while the edge runs: start it again, or hand over to another process")]
    Fixed {
        /// The setting.
        field: &'static str,
    },
    /// A file of the state directory. The disk's fault; a retry helps when it has room again.
    #[error("{}: cannot be used", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What refused.
        #[source]
        source: std::io::Error,
    },
}

fn listed(of: &[impl std::fmt::Display]) -> String {
    of.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
