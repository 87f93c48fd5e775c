//! Where a request goes, as pure functions over values and atomics.
