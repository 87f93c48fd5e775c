//! JSON events of a topic with a declared schema: each a row for ever, or a dead letter.

pub mod dead;
pub mod plan;
pub mod replay;
