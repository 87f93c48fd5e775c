//! What a document points at exists: relative links, and paths in code spans that begin at a folder of the root.

use std::path::{Path, PathBuf};

use crate::shell::{TaskError, read, root, tracked};

/// Looks at every document of the checkout.
pub fn findings() -> Result<Vec<String>, TaskError> {
    let mut findings = Vec::new();
    for path in tracked()?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let text = read(&root().join(&path))?;
        for (line, target) in targets(&text, &folder) {
            if !root().join(&target).exists() {
                findings.push(format!(
                    "{}:{line}: {} does not exist: name what is there, or add it",
                    path.display(),
                    target.display()
                ));
            }
        }
    }
    Ok(findings)
}

/// Folders of the root that a path in a code span may begin with.
const FOLDERS: [&str; 5] = ["crates/", "docs/", "fuzz/", "scenarios/", "xtask/"];

/// The paths from the root that a document in `folder` points at, each with its line. Fenced blocks are examples of input
/// and output, and are passed over.
fn targets(text: &str, folder: &Path) -> Vec<(usize, PathBuf)> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        // Between backticks stands code, outside of them text with links.
        for (span, text) in line.split('`').enumerate() {
            if span % 2 == 1 {
                targets.extend(path(text).map(|path| (number + 1, PathBuf::from(path))));
            } else {
                targets.extend(links(text).map(|link| (number + 1, folder.join(link))));
            }
        }
    }
    targets
}

/// A code span that is a path from the root and nothing else, without a `:line` behind it.
fn path(code: &str) -> Option<&str> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let path = code.split(':').next().unwrap_or(code);
    (FOLDERS.iter().any(|folder| path.starts_with(folder)) && path.chars().all(is_path)).then_some(path)
}

/// The relative targets of `[text](target)`, without their fragments.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next().unwrap_or(rest).split('#').next().unwrap_or("");
        let outside = target.contains("://") || target.starts_with("mailto:");
        (!target.is_empty() && !outside).then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_document_points_at_is_read() {
        let check = |text: &str, expect: &[&str]| {
            let found = targets(text, Path::new("docs"));
            let found: Vec<_> = found.iter().map(|(line, path)| format!("{line}:{}", path.display())).collect();
            assert_eq!(found, expect, "{text}");
        };
        check("see [a](A.md) and\n[b](../b/c.md#part)", &["1:docs/A.md", "2:docs/../b/c.md"]);
        check("[x](https://example.org/a.md) [y](#here) [z](mailto:a@example.org)", &[]);
        check("in `crates/model/src/lib.rs` and `crates/naru`", &["1:crates/model/src/lib.rs", "1:crates/naru"]);
        check("`xtask/src/main.rs:12`, `crates/*/src`, `docs/NNNN <x>`, `src/lib.rs`", &["1:xtask/src/main.rs"]);
        check("`[a](b)`", &[]);
        check("```sh\n[a](b) `crates/none`\n```\n`docs/`", &["4:docs/"]);
    }
}
