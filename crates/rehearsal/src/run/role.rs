//! A role of this binary as a child of the run: configured by a file, started, stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{DRAIN_WITHIN, Options, RehearsalError};
use crate::children::{self, Ended};
use crate::service_process::{Listen, ServiceError, ServiceOptions, ServiceProcess};

/// A role's process.
pub(super) type Process = Arc<Mutex<ServiceProcess>>;

/// Starts `naru NAME --config FILE`, the file with this text, in a directory of its own.
pub(super) async fn start(
    options: &Options,
    name: &'static str,
    (dir, listen): (PathBuf, Listen),
    configuration: &str,
) -> Result<ServiceProcess, RehearsalError> {
    let file = write(name, &dir, &format!("{name}.toml"), configuration)?;
    let child = ServiceOptions {
        name: name.to_owned(),
        program: options.exe.clone(),
        args: vec![name.to_owned(), "--config".to_owned(), file.display().to_string()],
        dir,
    };
    ServiceProcess::start_at(child, listen).await.map_err(error(name))
}

/// Writes a file for a child into its directory, and gives its path.
pub(super) fn write(name: &'static str, dir: &Path, file: &str, text: &str) -> Result<PathBuf, RehearsalError> {
    let path = dir.join(file);
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, text));
    written.map_err(|source| error(name)(ServiceError::File { path: path.clone(), source }))?;
    Ok(path)
}

/// Asks it to end, and says how it did.
pub(super) async fn stop(name: &'static str, process: &Process) -> Result<Ended, RehearsalError> {
    let ending = process.lock().await.stop(DRAIN_WITHIN).await.map_err(error(name))?;
    Ok(Ended { child: name.to_owned(), code: children::ENDS_WELL, ending })
}

/// Names the role that an error is of.
pub(super) fn error(name: &'static str) -> impl Fn(ServiceError) -> RehearsalError {
    move |source| RehearsalError::Service { name: name.to_owned(), source }
}
