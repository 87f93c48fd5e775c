//! Running commands, and where things are.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a task stopped.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A command could not be started.
    #[error("cannot run {program}")]
    Start {
        /// What was to be run.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A command ended with a code other than 0.
    #[error("{program} ended with {code}")]
    Failed {
        /// What was run.
        program: String,
        /// Its exit code; -1 when a signal ended it.
        code: i32,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The workspace could not be described.
    #[error("cargo metadata: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    /// The project breaks a rule of its own; each finding names the place and the fix.
    #[error("{} finding(s):\n{}", .0.len(), .0.join("\n"))]
    Findings(Vec<String>),
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_path_buf()
}

/// Cargo's target directory: everything that a task makes or fetches lies below it.
pub fn target() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "cargo hands its own settings over by the environment only")]
    let given = std::env::var_os("CARGO_TARGET_DIR");
    given.map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A command in the root of the checkout.
pub fn command(program: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// `cargo` with a subcommand that knows `--locked`, and arguments: a task never changes the lock file.
pub fn cargo(args: &[&str]) -> Command {
    let (subcommand, rest) = args.split_first().expect("a subcommand");
    let mut cargo = command(env!("CARGO"), &[subcommand, "--locked"]);
    cargo.args(rest);
    cargo
}

fn program(command: &Command) -> String {
    let mut words = vec![Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

/// Says what runs, runs it, and wants exit code 0.
pub fn run(mut command: Command) -> Result<(), TaskError> {
    let program = program(&command);
    eprintln!("x: {program}");
    let status = command.status().map_err(|source| TaskError::Start { program: program.clone(), source })?;
    if status.success() { Ok(()) } else { Err(TaskError::Failed { program, code: status.code().unwrap_or(-1) }) }
}

/// Becomes the command: signals reach it and not a parent that would leave it behind. Returns only when it cannot.
pub fn become_command(mut command: Command) -> TaskError {
    let program = program(&command);
    eprintln!("x: {program}");
    TaskError::Start { source: command.exec(), program }
}

/// Like [`run`], and hands every line of standard output to `line` after printing it.
pub fn run_and_read(mut command: Command, mut line: impl FnMut(&str)) -> Result<(), TaskError> {
    let program = program(&command);
    eprintln!("x: {program}");
    let start = |source| TaskError::Start { program: program.clone(), source };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
    let output = child.stdout.take().expect("standard output is piped");
    for text in BufReader::new(output).lines() {
        let text = text.map_err(start)?;
        writeln!(io::stdout(), "{text}").map_err(start)?;
        line(&text);
    }
    let status = child.wait().map_err(start)?;
    if status.success() { Ok(()) } else { Err(TaskError::Failed { program, code: status.code().unwrap_or(-1) }) }
}

/// What a command prints on standard output, if it ends well.
pub fn output(mut command: Command) -> Result<String, TaskError> {
    let program = program(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| TaskError::Start { program: program.clone(), source })?;
    if !output.status.success() {
        return Err(TaskError::Failed { program, code: output.status.code().unwrap_or(-1) });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads a file of the checkout.
pub fn read(path: &Path) -> Result<String, TaskError> {
    std::fs::read_to_string(path).map_err(|source| TaskError::File { path: path.to_path_buf(), source })
}

/// Writes a file, with the folders above it.
pub fn write(path: &Path, text: &str) -> Result<(), TaskError> {
    let failed = |source| TaskError::File { path: path.to_path_buf(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

/// The files that git tracks or would track, relative to the root.
pub fn tracked() -> Result<Vec<PathBuf>, TaskError> {
    let listing = output(command("git", &["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    Ok(listing.lines().map(PathBuf::from).filter(|path| root().join(path).is_file()).collect())
}
