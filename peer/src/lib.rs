//! The peer: follows the log and answers queries.
