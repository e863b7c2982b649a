//! Stories over real processes, one binary.

// The modules of the case suite know the crate by its whole name.
extern crate db as diachron_db;

mod backup;
mod bad_input;
mod cases;
mod client_library;
mod command;
mod deletion;
mod demo;
mod divergence;
mod excise;
mod explain;
mod flat;
mod follow;
mod followers;
mod fork;
mod garbage;
mod indexing;
mod inspecting;
mod kills;
mod large;
mod lessons;
mod load;
mod many;
mod observe;
mod overload;
mod partitions;
mod python;
mod questions;
mod readiness;
mod reads;
mod reads_more;
mod repair;
mod serving;
mod settings;
mod skeleton;
mod stopping;
mod storage_process;
mod store;
mod supervision;
mod takeover;
mod terminal;
mod tx_reports;
mod with;
