//! Change records: how `naru capture` writes them is a contract, docs/formats/changes.md.

pub mod decode;
pub mod fold;
pub mod marks;
pub mod rows;
pub mod schema;
pub mod schemas;
