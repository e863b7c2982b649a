//! Named workloads with fixed seeds and sizes, measured by medians. Every run prints one table to paste.

pub mod measure;
pub mod people;
