//! Classic consumer groups as a pure state machine, and committed offsets.
