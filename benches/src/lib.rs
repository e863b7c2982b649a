//! Named workloads, measured.
