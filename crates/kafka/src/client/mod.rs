//! Raw-batch client: connections, metadata, produce, fetch, offsets, groups and the admin calls of a relay.
