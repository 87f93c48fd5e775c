//! Fresh identities: of clusters, topics and group members.

use rand::TryRng;
use rand::rngs::SysRng;

/// 128 random bits from the system.
pub(crate) fn fresh() -> [u8; 16] {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).expect("the system gives random bytes once it has booted");
    bytes
}
