//! From the rehearsal's size to the event day's, which is what people have figures of.
//!
//! Two cores play a hundredth of the people in a tenth of the time, and so a tenth of the rates. Only the day's clock is
//! scaled: time-outs, leases and takeovers are what they are.

/// People of the event day for one of the rehearsal.
pub const PEOPLE: f64 = 100.0;
/// Seconds of the event day for one of the rehearsal.
pub const TIME: f64 = 10.0;
/// Requests per second of the event day for one of the rehearsal.
pub const RATE: f64 = PEOPLE / TIME;
