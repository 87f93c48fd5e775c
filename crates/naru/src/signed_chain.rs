//! How a signed chain of segments is checked, as flags give it.

use std::path::PathBuf;

use naru_runtime::keys::{KeyError, VerifyingKeys};
use naru_runtime::segments::{Expect, Head};

use crate::public_keys::{self, hex32};

/// What a chain is held against.
#[derive(Debug, clap::Args)]
pub struct ChainArgs {
    /// A public key of whose log it is, 64 hexadecimal digits; may be repeated, for keys of former years
    #[arg(long = "key", value_name = "HEX", value_parser = hex32, required_unless_present = "keys")]
    public: Vec<[u8; 32]>,
    /// Its own key file, in place of its public keys
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The head that the chain must end in, as it was kept elsewhere: shows a chain that was cut
    #[arg(long, value_name = "HEX", value_parser = hex32)]
    head: Option<[u8; 32]>,
    /// The log is being written: its last segment may still be without a signature
    #[arg(long)]
    open: bool,
}

impl ChainArgs {
    /// The keys that signatures may be of.
    ///
    /// # Errors
    /// A key file that cannot be read.
    pub fn keys(&self) -> Result<VerifyingKeys, KeyError> {
        public_keys::verifying(self.keys.as_deref(), &self.public)
    }

    /// What must hold of the chain's end.
    pub fn expect(&self) -> Expect {
        Expect { open_last: self.open, head: self.head.map(Head::from_bytes), ..Expect::SEALED }
    }
}
