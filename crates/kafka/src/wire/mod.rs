//! Sans-IO codec of the Kafka protocol: frames, headers, record batches, Produce and Fetch.
