//! The store as its callers see it; what recovery does is in `tests/`.
