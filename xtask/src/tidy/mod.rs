//! The project's own rules, each one module: what is wrong is named with its place and the fix.

mod dependencies;
mod invariants;
mod lengths;
mod links;
mod names;
mod options;

use crate::shell::TaskError;

pub use options::run as options;

/// Arguments of `./x tidy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Lower the checked-in file lengths to what they are now
    #[arg(long)]
    pub update: bool,
}

/// Runs every rule that needs no build.
pub fn run(args: &Args) -> Result<(), TaskError> {
    if args.update {
        lengths::lower()?;
    }
    let findings = findings()?;
    if findings.is_empty() { Ok(()) } else { Err(TaskError::Findings(findings)) }
}

fn findings() -> Result<Vec<String>, TaskError> {
    let mut findings = dependencies::findings()?;
    findings.extend(names::findings()?);
    findings.extend(lengths::findings()?);
    findings.extend(invariants::findings()?);
    findings.extend(links::findings()?);
    Ok(findings)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        assert_eq!(super::findings().expect("the rules can be read"), Vec::<String>::new());
    }
}
