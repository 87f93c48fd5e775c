//! One table: its files, its commits, its index of keys, and what readers see of it.

pub mod columns;
pub mod commit;
pub mod evolve;
pub mod index;
pub mod positions;
pub mod progress;
pub mod read;
pub mod rewrite;
pub mod state;
pub mod view;
pub mod write;
