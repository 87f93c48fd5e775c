//! Drains that were ordered, kept on disk: a site that an operator took out stays out when the edge is started again, or
//! another process takes over.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use naru_runtime::durable::replace_file;

use crate::policy::Policy;

/// Name of the file in the state directory.
const FILE: &str = "drains.json";

/// The sites that are drained, by name.
#[derive(Debug)]
pub(crate) struct Drains {
    path: PathBuf,
    sites: Mutex<BTreeSet<String>>,
}

impl Drains {
    /// Reads what was ordered before.
    ///
    /// # Errors
    /// When the disk refuses, or the file is not one of ours.
    pub fn open(state: &Path) -> io::Result<Self> {
        let path = state.join(FILE);
        let sites = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, sites: Mutex::new(sites) })
    }

    /// Begins or ends the drain of a site of this policy, in force only once it is on disk. Blocks. A site that is gone by now
    /// is forgotten.
    ///
    /// # Errors
    /// When the disk refuses; then nothing has changed.
    pub fn order(&self, policy: &Policy, site: &str, draining: bool) -> io::Result<()> {
        // A set is whole whatever happened to its holder.
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = sites.clone();
        next.retain(|name| policy.sites().iter().any(|known| known.id().as_str() == name));
        if draining {
            next.insert(site.to_owned());
        } else {
            next.remove(site);
        }
        replace_file(&self.path, &serde_json::to_vec(&next)?, 0o600)?;
        *sites = next;
        Self::show(&sites, policy);
        Ok(())
    }

    /// Takes a policy's sites out that are drained: those that a plan or a configuration has just brought know nothing of it.
    pub fn apply(&self, policy: &Policy) {
        Self::show(&self.sites.lock().unwrap_or_else(PoisonError::into_inner), policy);
    }

    fn show(sites: &BTreeSet<String>, policy: &Policy) {
        policy.sites().iter().for_each(|site| site.set_draining(sites.contains(site.id().as_str())));
    }
}
