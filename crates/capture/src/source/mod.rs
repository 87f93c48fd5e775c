//! The source's side: sessions with PostgreSQL, its catalogue, the slot, copies, and what the stream says.

pub mod catalog;
pub mod connect;
pub mod copy;
pub mod pgoutput;
pub mod slot;
pub mod standing;
