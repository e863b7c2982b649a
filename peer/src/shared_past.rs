//! The transactions that a fork shares with its origin, read from the origin's log tree, whether the origin is still there
//! or not.

use crate::remote::Remote;
use crate::trees::{LogTree, TreeReader};
use crate::vouching::Vouching;
use db::log::{Body, DatabaseId, ForkBody, RawRecord, TxEntry};
use db::{Result, T};
use std::sync::Arc;

/// What is read of a log tree at once.
const READ_BYTES: usize = 1 << 20;

/// Transactions from some t on up to where a fork left its origin, some at a time.
pub struct SharedPast {
    start: T,
    /// The logs that hold them, the oldest last: an origin may be a fork itself.
    logs: Vec<OriginLog>,
}

struct OriginLog {
    tree: Arc<LogTree>,
    vouching: Vouching,
    next_seq: u64,
    /// What came later in it is not the fork's.
    last_t: T,
}

impl SharedPast {
    /// From `start` on, which is at least 1, of a fork of this lineage.
    pub async fn new(
        reader: &TreeReader,
        remote: &Remote,
        lineage: DatabaseId,
        fork: ForkBody,
        start: T,
    ) -> Result<SharedPast> {
        let mut logs = Vec::new();
        let mut fork = Some(fork);
        while let Some((root, last_t)) = fork.and_then(|fork| Some((fork.index.log?, fork.index.index_t)))
            && start <= last_t
        {
            let tree = Arc::new(LogTree { reader: reader.clone(), lineage, root });
            // A first record that holds transactions is one of a fork: it stands for all that came before.
            let next_seq = tree.seq_of(start).await?.unwrap_or(1);
            let vouching = Vouching::of_tree(remote, tree.clone());
            logs.push(OriginLog { tree: tree.clone(), vouching, next_seq, last_t });
            fork = match next_seq {
                1 => match RawRecord::parse(&tree.read(1, 1).await?[0])?.body()? {
                    Body::Fork(fork) => Some(*fork),
                    _ => None,
                },
                _ => None,
            };
        }
        Ok(SharedPast { start, logs })
    }

    /// The next ones; None after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<TxEntry>>> {
        while let Some(log) = self.logs.last_mut() {
            if log.next_seq > log.tree.root.seq {
                self.logs.pop();
                continue;
            }
            let records = log.tree.read(log.next_seq, READ_BYTES).await?;
            log.next_seq += records.len() as u64;
            let (range, mut entries) = (self.start..=log.last_t, Vec::new());
            for bytes in &records {
                let record = RawRecord::parse(bytes)?;
                if let Body::Tx(said) = log.vouching.body(&record).await? {
                    entries.extend(said.into_iter().filter(|entry| range.contains(&entry.t)));
                }
            }
            return Ok(Some(entries));
        }
        Ok(None)
    }
}
