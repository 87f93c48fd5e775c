//! The relay: clusters written directly where no relay is needed, and through it where one is.

mod admin;
mod async_switch;
mod faults;
mod groups;
mod half_open;
mod lost_side;
mod preflight;
mod pressure;
pub(crate) mod process;
mod rounds;
mod secured_sides;
mod security;
mod taken_in;
mod takeover;
mod through;
mod transactions;
mod two_logs;
mod verify;
