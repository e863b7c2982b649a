//! Backups in S3-compatible storage.
