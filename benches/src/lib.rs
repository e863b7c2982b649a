//! Named workloads with fixed seeds and sizes, measured by medians. Every run prints tables to paste, and, where
//! `DIACHRON_BENCH_OUT` names a file, adds a line of JSON to it for every figure.

pub mod big;
pub mod disk;
pub mod measure;
pub mod people;
pub mod report;
pub mod system;

pub use report::Report;

/// Whether the run shall only show that the bench works: `--quick`.
pub fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}
