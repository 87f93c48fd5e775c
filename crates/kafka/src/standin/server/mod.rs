//! Sockets, requests and answers of the stand-in broker.
