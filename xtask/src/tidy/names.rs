//! Names that hide what is inside, and files named after a process instead of a thing.

use std::path::Path;

use crate::shell::{TaskError, tracked};

/// Drawers: a module of such a name collects what nobody wanted to place.
const DRAWERS: [&str; 11] =
    ["utils", "util", "common", "core", "helpers", "helper", "types", "manager", "misc", "shared", "stuff"];
const PROCESS_ENDINGS: [&str; 5] = ["_v2", "_new", "_old", "_sweep", "_final"];
const PROCESS_FILES: [&str; 4] = ["plan.md", "notes.md", "todo.md", "log.md"];

/// Looks at every tracked path.
pub fn findings() -> Result<Vec<String>, TaskError> {
    Ok(tracked()?.iter().filter_map(|path| finding(path)).collect())
}

fn finding(path: &Path) -> Option<String> {
    let drawer = path
        .iter()
        .filter_map(|part| Path::new(part).file_stem()?.to_str())
        .find(|stem| DRAWERS.contains(&stem.to_ascii_lowercase().as_str()));
    if let Some(drawer) = drawer {
        return Some(format!("{}: `{drawer}` says nothing: name it after what it holds", path.display()));
    }
    let stem = path.file_stem()?.to_str()?;
    let file = path.file_name()?.to_str()?.to_ascii_lowercase();
    let process = PROCESS_ENDINGS.iter().any(|ending| stem.ends_with(ending)) || PROCESS_FILES.contains(&file.as_str());
    process.then(|| format!("{}: named after a process: name it after the thing", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_and_process_names_are_found() {
        let check = |path: &str, bad: bool| assert_eq!(finding(Path::new(path)).is_some(), bad, "{path}");
        check("crates/a/src/utils.rs", true);
        check("crates/common/src/lib.rs", true);
        check("crates/a/src/log_v2.rs", true);
        check("docs/plan.md", true);
        check("crates/a/src/standin/log/mod.rs", false);
        check("crates/model/src/plan.rs", false);
    }
}
