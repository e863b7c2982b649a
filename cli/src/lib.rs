//! The `diachron` command.
//!
//! [`command`] is what the binary `diachron` runs; [mod@format] writes answers as tables, EDN, JSON and CSV; [`forms`]
//! reads files of transactions that are larger than memory. What speaks to a peer is the crate `client`.

mod attributes;
pub mod command;
pub mod format;
pub mod forms;
mod nearest;
