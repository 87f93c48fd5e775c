//! Configuration: one typed struct per role, read whole before a socket opens.
//!
//! [`config!`](crate::config!) declares a struct once; the loader, the command-line flags and the option reference all
//! come from that declaration. Sources, weakest first: defaults, a TOML file, the environment (`NARU_<ROLE>_<KEY>`),
//! flags (`--key`). Every mistake is reported at once, with its place and its fix, and unknown keys are refused; a
//! process that meets [`ConfigErrors`] prints it and exits with [`ConfigErrors::EXIT_CODE`].
//!
//! ```
//! use std::time::Duration;
//! use naru_runtime::config::{ByteSize, Sources};
//!
//! naru_runtime::choice! {
//!     /// When a write is answered.
//!     pub enum Flush {
//!         /// After it is on the disk.
//!         Fsync = "fsync",
//!         /// After it is with the operating system.
//!         Write = "write",
//!     }
//! }
//!
//! naru_runtime::config! {
//!     /// One group of things.
//!     pub struct Group {
//!         /// Its name.
//!         pub name: String,
//!     }
//! }
//!
//! naru_runtime::config! {
//!     /// Stores things.
//!     pub struct StoreConfig for "store" {
//!         /// Address to listen on.
//!         pub listen: std::net::SocketAddr = "127.0.0.1:9092",
//!         /// Most bytes of one request.
//!         #[range("1KiB", "1GiB")]
//!         pub request_bytes_max: ByteSize = "100MiB",
//!         /// Longest wait for a drain.
//!         pub drain_max: Duration = "10s",
//!         /// When a write is answered.
//!         pub flush: Flush = "fsync",
//!         /// Groups to serve.
//!         #[key("group")]
//!         pub groups: Vec<Group>,
//!     }
//! }
//!
//! let config: StoreConfig = Sources::default()
//!     .document("store.toml", "drain_max = '3s'\n[[group]]\nname = 'a'")
//!     .environment([("NARU_STORE_LISTEN", "127.0.0.1:1")])
//!     .flag("flush", "write")
//!     .load()
//!     .expect("the example is right");
//! assert_eq!(config.drain_max, Duration::from_secs(3));
//! assert_eq!(config.groups.len(), 1);
//! assert_eq!(config.flush, Flush::Write);
//! ```

mod declare;
mod error;
mod field;
mod flags;
mod located;
mod quantity;
mod reference;
mod scalar;
mod secret;
mod source;
#[cfg(test)]
mod tests;

pub use error::{ConfigErrors, Mistake, Origin, Problem};
pub use field::{Field, Form, Given, OptionSpec, Place, Problems, Role, Shape, TableView};
pub use flags::Flags;
pub use located::Located;
pub use quantity::{ByteSize, format_duration, parse_duration};
pub use reference::{RoleReference, option_reference};
pub use scalar::{HostPort, Literal, Ranged, Scalar};
pub use secret::Secret;
pub use source::{CONFIG_BYTES_MAX, Node, Sources, process_environment, read_document};
