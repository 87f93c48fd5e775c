//! Files that survive a crash: what segments, the spool and key files share.

mod append;
pub(crate) mod frame;
mod replace;

pub use append::{AppendError, Durability};
pub(crate) use append::{AppendFile, DirectoryLock};
pub(crate) use replace::{replace_file, sync_directory};
