//! Files of a table that no snapshot names any more, or never did.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use iceberg::TableIdent;
use iceberg::table::Table;

use crate::catalogue::Catalogue;
use crate::error::LakeError;

/// Removes files that nothing names and that are older than `age`; answers how many. Younger ones may belong to a commit
/// that is under way, or to a reader that began before they were replaced. What is named is asked of the catalogue now: this
/// process may have slept while another one committed, and what it remembers would make that one's files orphans.
///
/// # Errors
/// When the table's metadata cannot be read, or a file not be removed.
pub async fn remove(catalogue: Catalogue, table: TableIdent, age: Duration) -> Result<usize, LakeError> {
    let Some(table) = catalogue.find(&table).await? else { return Ok(0) };
    let Some(folder) = table.metadata().location().strip_prefix("file://").map(PathBuf::from) else { return Ok(0) };
    let named = named(&table).await?;
    let mut removed = 0;
    for part in ["data", "metadata"] {
        removed += sweep(&folder.join(part), &named, age)?;
    }
    Ok(removed)
}

/// The paths of everything that the table's metadata names.
async fn named(table: &Table) -> Result<HashSet<PathBuf>, LakeError> {
    let mut named = HashSet::new();
    let mut name = |path: &str| named.insert(PathBuf::from(path.strip_prefix("file://").unwrap_or(path)));
    let metadata = table.metadata();
    name(table.metadata_location_result()?);
    metadata.metadata_log().iter().for_each(|log| {
        name(&log.metadata_file);
    });
    let mut manifests = HashSet::new();
    for snapshot in metadata.snapshots() {
        name(snapshot.manifest_list());
        let list = table.manifest_list_reader(snapshot).load().await?;
        for manifest in list.entries() {
            if !manifests.insert(manifest.manifest_path.clone()) {
                continue;
            }
            name(&manifest.manifest_path);
            let loaded = manifest.load_manifest(table.file_io()).await?;
            // What a manifest says is gone is named by older snapshots, as long as they are there.
            loaded.entries().iter().filter(|entry| entry.is_alive()).for_each(|entry| {
                name(entry.file_path());
            });
        }
    }
    Ok(named)
}

fn sweep(folder: &Path, named: &HashSet<PathBuf>, age: Duration) -> Result<usize, LakeError> {
    let refused = |path: &Path| {
        let what = format!("files of {}", path.display());
        move |source| LakeError::System { what, source }
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(refused(folder)(error)),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(refused(folder))?;
        let path = entry.path();
        let metadata = entry.metadata().map_err(refused(&path))?;
        let is_old = metadata.modified().ok().and_then(|at| at.elapsed().ok()).is_some_and(|elapsed| elapsed > age);
        if metadata.is_file() && is_old && !named.contains(&path) {
            std::fs::remove_file(&path).map_err(refused(&path))?;
            removed += 1;
        }
    }
    Ok(removed)
}
