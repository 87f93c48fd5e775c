//! The web console: the event day on one page, plans that a person compares and approves, and questions by SQL.
//!
//! Owns what a browser sees, and nothing else: it speaks to the other roles' HTTP contracts (docs/api) and to the lake's SQL
//! port, keeps no state that matters, and decides nothing. Invariants: a part that gives no answer is shown as such and hides
//! no other; nothing changes by anybody who has not logged in with a token of control, and control judges each change;
//! everything that came from elsewhere is escaped; a page loads nothing from the network. It must never depend on a crate of
//! another role. It alone knows maud.

pub mod config;
pub mod server;

mod ask;
mod assets;
mod events;
mod frame;
mod gather;
mod history;
mod marks;
mod page;
mod part;
mod session;
mod viewer;
mod words;
