//! Stories over real processes, one binary.

mod bad_input;
mod demo;
mod divergence;
mod follow;
mod kills;
mod large;
mod partitions;
mod python;
mod reads;
mod serving;
mod simulated;
mod skeleton;
mod stopping;
mod store;
mod supervision;
