//! The diachron command and the Rust client library.
