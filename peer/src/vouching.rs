//! Reading bodies of records that erasures may have replaced: the `erase` record that such a body names is asked, one of
//! which is held at a time.

use crate::remote::Remote;
use crate::trees::LogTree;
use db::log::{Body, Content, DatabaseId, EraseBody, RawRecord, Replaced};
use db::replay::{Checked, not_vouched_for};
use db::{Error, Result};
use std::sync::Arc;

/// Reads the bodies of one log.
pub struct Vouching {
    remote: Remote,
    log: Log,
    erase: Option<(u64, Option<EraseBody>)>,
}

enum Log {
    Of(DatabaseId),
    /// What a fork has of its origin's.
    Tree(Arc<LogTree>),
}

impl Vouching {
    pub fn of(remote: &Remote, database: DatabaseId) -> Self {
        Vouching { remote: remote.clone(), log: Log::Of(database), erase: None }
    }

    pub fn of_tree(remote: &Remote, tree: Arc<LogTree>) -> Self {
        Vouching { remote: remote.clone(), log: Log::Tree(tree), erase: None }
    }

    /// A record's body, from storage where it lies out of line.
    pub async fn body(&mut self, record: &RawRecord<'_>) -> Result<Body> {
        let checked = read(record, &self.remote).await?;
        if let Some(replaced) = checked.replaced().copied()
            && !self.vouches(&replaced).await?
        {
            return Err(not_vouched_for(&replaced));
        }
        Ok(checked.into_body())
    }

    async fn vouches(&mut self, replaced: &Replaced) -> Result<bool> {
        // A log is replaced by its own erasures alone.
        if replaced.database != replaced.of {
            return Ok(false);
        }
        if self.erase.as_ref().is_none_or(|(seq, _)| *seq != replaced.by) {
            let bytes = self.record(replaced.by).await?;
            let erase = read(&RawRecord::parse(&bytes)?, &self.remote).await?.erase().cloned();
            self.erase = Some((replaced.by, erase));
        }
        let erase = self.erase.as_ref().and_then(|(_, erase)| erase.as_ref());
        Ok(erase.is_some_and(|erase| erase.names(replaced.seq, &replaced.hash)))
    }

    async fn record(&self, seq: u64) -> Result<Vec<u8>> {
        match &self.log {
            Log::Tree(tree) => Ok(tree.read(seq, 1).await?.swap_remove(0)),
            Log::Of(database) => {
                let message = self.remote.read_log(*database, seq, 1).await?.next().await?;
                let records = message.map_or_else(Vec::new, |message| message.records);
                let found = records.into_iter().find(|stored| stored.seq == seq);
                found.map(|stored| stored.bytes.to_vec()).ok_or_else(|| {
                    let message = format!("record {seq} of database {database} is missing");
                    Error::corrupt("db.error/storage-corrupt", message).with("seq", seq as i64)
                })
            }
        }
    }
}

/// Reads a record with its body, from storage where it lies out of line; nobody has asked of one that was replaced.
pub async fn read(record: &RawRecord<'_>, remote: &Remote) -> Result<Checked> {
    match &record.content {
        Content::OutOfLine(place) => Checked::read(record, Some(&remote.body(place).await?)),
        Content::Body(_) => Checked::read(record, None),
    }
}
