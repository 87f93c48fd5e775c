//! The stand-in broker: one node per process, for the one-command start and for fault simulation. It is not a product.

pub mod faults;
pub mod groups;
pub mod log;
pub mod server;
pub mod storage;
