//! The gRPC services: thin, each call turned into a message to an actor or a read of the store.

pub mod admin;
mod load;
pub mod storage;
pub mod transactor;

#[cfg(test)]
mod tests;
