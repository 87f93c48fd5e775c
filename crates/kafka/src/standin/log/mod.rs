//! The rules of one partition log, as a pure state machine.
