//! The transactor: expands, checks, logs and broadcasts transactions.
