//! Files that survive a crash: what segments, the spool, key files and the state of roles share.

mod append;
pub mod frame;
mod replace;

pub use append::{AppendError, AppendFile, DirectoryLock, Durability};
pub use replace::replace_file;
pub(crate) use replace::sync_directory;
