//! Stories over real processes, one binary.

mod bad_input;
mod client_library;
mod command;
mod deletion;
mod demo;
mod divergence;
mod flat;
mod explain;
mod follow;
mod followers;
mod kills;
mod large;
mod many;
mod overload;
mod partitions;
mod python;
mod readiness;
mod reads;
mod reads_more;
mod serving;
mod simulated;
mod skeleton;
mod stopping;
mod store;
mod supervision;
