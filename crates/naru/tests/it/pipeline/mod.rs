//! The whole way of a change: PostgreSQL, capture with the vault's tokens, a relay and two clusters, the lake, SQL, and the
//! audit over all of them. Every role is a process of its own.

mod dump;
mod kills;
mod process;
mod sabotage;
mod thin;
mod world;
