//! The storage shell of a partition log: segment files, index, flush policy, recovery.
