//! A node of the log as a child process: the stand-in, or Apache Kafka from a directory of jars.
