//! The Rust client library of Diachron, and the `diachron` command beside it.
//!
//! [`client`] talks to a peer over gRPC; [`format`] writes answers as tables, EDN, JSON and CSV; [`forms`] reads files
//! of transactions that are larger than memory; [`command`] is what the binary `diachron` runs.

pub mod client;
pub mod command;
pub mod format;
pub mod forms;

pub use client::{Client, View};
