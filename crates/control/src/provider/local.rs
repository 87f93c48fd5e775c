//! Processes of this machine, in the place of machines.
//!
//! A process carries its key in its environment from its first instruction on, so that a control that is started again
//! needs to remember nothing: what is running is what /proc shows. Until that first instruction /proc shows no environment,
//! so that of its own children a control knows the keys itself.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use naru_runtime::durable::replace_file;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Provider, ProviderError, Seen, SeenState, Shape, Wanted};

/// In the environment of each process: owner, a slash, key.
const MARK: &str = "NARU_MACHINE=";
/// The file of the highest fence that was seen.
const FENCE: &str = "fence";

/// Processes of this machine.
#[derive(Debug)]
pub struct Local {
    directory: PathBuf,
    owner: String,
    /// Ours to wait for, with their keys; those of a former process of ours are the system's.
    children: Mutex<BTreeMap<u32, (String, Child)>>,
}

impl Local {
    /// Runs processes in the name of `owner`; the directory holds the fence and the keys that were used.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(directory: &Path, owner: &str) -> io::Result<Self> {
        std::fs::create_dir_all(directory.join("used"))?;
        Ok(Self { directory: directory.to_owned(), owner: owner.to_owned(), children: Mutex::default() })
    }

    fn fence(&self, number: u64) -> Result<(), ProviderError> {
        let path = self.directory.join(FENCE);
        let seen = match std::fs::read_to_string(&path) {
            Ok(text) => {
                text.trim().parse().map_err(|_| ProviderError::Refused("the fence file is damaged".to_owned()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0_u64,
            Err(error) => return Err(unknown(&error)),
        };
        if number < seen {
            return Err(ProviderError::Stale(format!("number {seen} was here, this is {number}")));
        }
        if number > seen {
            replace_file(&path, number.to_string().as_bytes(), 0o600).map_err(|error| unknown(&error))?;
        }
        Ok(())
    }

    fn running(&self) -> io::Result<Vec<Seen>> {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        // A child that has ended leaves /proc only when it is waited for; an error says that it was.
        children.retain(|_, (_, child)| matches!(child.try_wait(), Ok(None)));
        let ready = |key: String, pid: u32| Seen { key, id: pid.to_string(), state: SeenState::Ready };
        let mut seen: Vec<Seen> = children.iter().map(|(pid, (key, _))| ready(key.clone(), *pid)).collect();
        let wanted = format!("{MARK}{}/", self.owner);
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if children.contains_key(&pid) {
                continue;
            }
            // Processes of others, and those that end meanwhile, cannot be read.
            let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
            let key =
                environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(wanted.as_bytes()));
            if let Some(key) = key
                && is_leader(pid)
            {
                seen.push(ready(String::from_utf8_lossy(key).into_owned(), pid));
            }
        }
        Ok(seen)
    }

    fn make(&self, wanted: &Wanted) -> Result<Seen, ProviderError> {
        let Shape::Machine { command, .. } = &wanted.shape else {
            return Err(ProviderError::Refused("local processes stand for machines only".to_owned()));
        };
        let Some((program, arguments)) = command.split_first() else {
            return Err(ProviderError::Refused("the template has no command to run on this machine".to_owned()));
        };
        let gone = Seen { key: wanted.key.clone(), id: String::new(), state: SeenState::Gone };
        let running = self.running().map_err(|error| unknown(&error))?;
        if let Some(seen) = running.into_iter().find(|seen| seen.key == wanted.key) {
            return Ok(seen);
        }
        // A key is used once: a process that has ended is not begun anew under the same name.
        let used = self.directory.join("used").join(&wanted.key);
        if used.exists() {
            return Ok(gone);
        }
        let mut process = Command::new(program);
        process.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let (name, _) = MARK.split_at(MARK.len() - 1);
        process.env(name, format!("{}/{}", self.owner, wanted.key)).process_group(0);
        let child = process.spawn().map_err(|error| ProviderError::Refused(format!("{program}: {error}")))?;
        let id = child.id();
        self.children.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (wanted.key.clone(), child));
        // Behind the start: a crash between the two leaves a process that is seen, not a key that is used up.
        std::fs::write(&used, id.to_string()).map_err(|error| unknown(&error))?;
        Ok(Seen { key: wanted.key.clone(), id: id.to_string(), state: SeenState::Ready })
    }
}

/// Whether it leads its group: a program's own children inherit the environment, and end with the group.
fn is_leader(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    nix::unistd::getpgid(Some(Pid::from_raw(pid))).is_ok_and(|group| group.as_raw() == pid)
}

fn unknown(error: &io::Error) -> ProviderError {
    ProviderError::Unknown(error.to_string())
}

#[async_trait]
impl Provider for Local {
    fn settle(&self) -> Duration {
        Duration::ZERO
    }

    async fn create(&self, fence: u64, wanted: &Wanted) -> Result<Seen, ProviderError> {
        self.fence(fence)?;
        self.make(wanted)
    }

    async fn observe(&self) -> Result<Vec<Seen>, ProviderError> {
        self.running().map_err(|error| unknown(&error))
    }

    async fn delete(&self, fence: u64, seen: &Seen) -> Result<(), ProviderError> {
        self.fence(fence)?;
        // The process may have ended and its number be another's: only one that still carries the key is ended.
        let running = self.running().map_err(|error| unknown(&error))?;
        let Some(seen) = running.iter().find(|other| other.key == seen.key) else { return Ok(()) };
        let pid: i32 = seen.id.parse().map_err(|_| ProviderError::Refused("the id is no process".to_owned()))?;
        match kill(Pid::from_raw(-pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(ProviderError::Unknown(error.to_string())),
        }
    }
}
