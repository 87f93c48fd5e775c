//! docs/OPTIONS.md is what `naru options` prints: the reference comes from the types that load the options.

use crate::shell::{self, TaskError, cargo, read, root};

const REFERENCE: &str = "docs/OPTIONS.md";

/// Builds `naru` and compares.
pub fn run() -> Result<(), TaskError> {
    let generated = shell::output(cargo(&["run", "--quiet", "--package", "naru", "--", "options"]))?;
    if generated == read(&root().join(REFERENCE))? {
        return Ok(());
    }
    Err(TaskError::Findings(vec![format!("{REFERENCE} is out of step: naru options > {REFERENCE}")]))
}
