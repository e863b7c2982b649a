//! Whether a backup is whole: it is verified as a store is.

use crate::manifest::Manifest;
use crate::snapshot::{Snapshot, trees_of};
use crate::target::Target;
use crate::{Progress, Told};
use db::Result;
use proto::v1::{VerifyFault, VerifySummary};
use std::sync::Arc;
use stores::verification::{Subject, Verification};

/// Reads all of a backup: every segment is there and has the bytes of its name, the log goes from its first record to the
/// head, the newest trees hold what it says. Gives what is wrong, each with its place.
pub fn verify(
    target: Arc<dyn Target>,
    manifest: &Manifest,
    told: &Told<'_>,
) -> Result<(Vec<VerifyFault>, VerifySummary)> {
    let snapshot = Snapshot::new(target, manifest.clone());
    let trees = trees_of(Arc::new(snapshot.clone()))?;
    let subject = Subject {
        journal: &snapshot,
        segments: &snapshot,
        trees: &*trees,
        id: manifest.database,
        head: manifest.head,
        // A backup has the newest alone.
        kept_from: &|| Ok(manifest.head.index_seq),
        fork_trees: true,
    };
    let tell = |stage: &str, done: u64, total: u64| told(&Progress { stage: stage.to_owned(), done, total, bytes: 0 });
    Verification::new(subject, &tell).run().map(|verified| (verified.faults, verified.summary))
}
