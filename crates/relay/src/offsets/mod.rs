//! The committed offsets of one consumer group on both sides (RELAY-4), as a pure state machine.
