//! Ports that no outgoing connection takes while a node is down.

use std::net::{Ipv4Addr, TcpListener};

use rand::TryRng;
use rand::rngs::SysRng;

use super::NodeError;

/// Below Linux's ephemeral range, which starts at 32768: a killed node finds its port free again.
const PORT_LOW: u16 = 10_000;
const PORT_HIGH: u16 = 32_000;

/// How many ports are tried: with a hundred nodes on one machine, all failing has a chance of 10^-70.
const TRIES_MAX: u32 = 32;

/// A port that could be bound a moment ago. Chosen at random, so that two callers rarely meet.
///
/// # Errors
/// [`NodeError::Random`], or [`NodeError::NoPort`] if none of those tried was free.
pub fn free() -> Result<u16, NodeError> {
    for _ in 0..TRIES_MAX {
        let random = SysRng.try_next_u32().map_err(|source| NodeError::Random(source.into()))?;
        let width = u32::from(PORT_HIGH - PORT_LOW);
        let port = PORT_LOW + u16::try_from(random % width).expect("the range is narrower than 2^16");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(NodeError::NoPort { low: PORT_LOW, high: PORT_HIGH })
}
