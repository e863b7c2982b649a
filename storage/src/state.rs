//! Heads, seals and pods, and the one place where a conditional step is judged against them.
//!
//! Pure: the same steps in the same order on the same state give the same answers in every backend. A
//! backend judges the steps of one group in order, each against the changes of those before it, and answers
//! when those changes are durable.

use crate::{
    Appended, DatabaseId, Error, ErrorKind, Head, Options, PodPut, PodVersion, Replaced, Result, StoredRecord, sha256,
};
use std::collections::BTreeMap;

/// The longest pod name, in bytes.
pub const POD_NAME_BYTES_MAX: usize = 200;

/// The longest pod: a small cell, which fits into one item of the engine (see the item limit of `sled:`).
pub const POD_BYTES_MAX: usize = 3072;

/// What a caller asks the journal to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Append {
        db: DatabaseId,
        expected: Option<Head>,
        new_head: Head,
        record: Vec<u8>,
        by: Writer,
    },
    PutPod {
        name: String,
        expected: PodVersion,
        bytes: Vec<u8>,
    },
    DeletePod {
        name: String,
        version: PodVersion,
    },
    Drop {
        db: DatabaseId,
    },
    Seal {
        db: DatabaseId,
        before_seq: u64,
    },
    /// Puts other bytes in a record's place.
    Replace {
        db: DatabaseId,
        seq: u64,
        old: [u8; 32],
        record: Vec<u8>,
        /// What is there when the step is judged, filled in by the backend then.
        stored: Option<Stored>,
    },
    /// Goes on in a new file, so that nothing is written any more into those that hold what is to go.
    NewFile,
    /// Says records again that are in the log, so that the files where they were said before may go.
    Keep {
        db: DatabaseId,
        records: Vec<StoredRecord>,
    },
}

/// What a record's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) hash: [u8; 32],
    pub(crate) length: u32,
}

impl Stored {
    /// A record's length was checked against `record_bytes_max`, which fits into 32 bits.
    pub(crate) fn of(record: &[u8]) -> Stored {
        Stored { hash: sha256(record), length: record.len() as u32 }
    }
}

/// Who appends: the writer of the running term, or one that begins a new term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    SameTerm,
    NewTerm,
}

/// What a step that was granted changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Record { db: DatabaseId, head: Head, record: Vec<u8> },
    PodPut { name: String, version: PodVersion, bytes: Vec<u8> },
    PodDeleted { name: String },
    Dropped { db: DatabaseId },
    Sealed { db: DatabaseId, before_seq: u64 },
    Kept { db: DatabaseId, records: Vec<StoredRecord> },
    Replaced { db: DatabaseId, seq: u64, old_length: u32, record: Vec<u8> },
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Appended(Appended),
    Pod(PodPut),
    Dropped,
    Sealed(Result<(), SealRefused>),
    Kept,
    Replaced(Result<Replaced, ReplaceRefused>),
    /// It does so; otherwise that file is not prepared yet.
    NewFile(bool),
}

/// Why records cannot be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealRefused {
    db: DatabaseId,
    before_seq: u64,
    head: Option<Head>,
}

/// Why a record cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplaceRefused {
    db: DatabaseId,
    seq: u64,
    head: Option<Head>,
}

impl Answer {
    /// The answer to an append; a journal gives each step the answer of its own sort.
    pub(crate) fn appended(self) -> Appended {
        match self {
            Answer::Appended(appended) => appended,
            other => unreachable!("an append was answered with {other:?}"),
        }
    }

    /// The answer to a pod's put or delete.
    pub(crate) fn pod(self) -> PodPut {
        match self {
            Answer::Pod(put) => put,
            other => unreachable!("a pod step was answered with {other:?}"),
        }
    }

    /// The answer to a seal.
    pub(crate) fn sealed(self) -> Result<()> {
        match self {
            Answer::Sealed(sealed) => sealed.map_err(SealRefused::into_error),
            other => unreachable!("a seal was answered with {other:?}"),
        }
    }

    /// The answer to a replacement.
    pub(crate) fn replaced(self) -> Result<Replaced> {
        match self {
            Answer::Replaced(replaced) => replaced.map_err(ReplaceRefused::into_error),
            other => unreachable!("a replacement was answered with {other:?}"),
        }
    }
}

impl ReplaceRefused {
    fn into_error(self) -> Error {
        let ReplaceRefused { db, seq, head } = self;
        match head {
            None => {
                Error::new(ErrorKind::NotFound, format!("database {db} has no log in which a record could be replaced"))
            }
            Some(head) => invalid(format!(
                "record {seq} of database {db} cannot be replaced: its records go from 1 to {}",
                head.seq
            )),
        }
    }
}

impl SealRefused {
    fn into_error(self) -> Error {
        let SealRefused { db, before_seq, head } = self;
        match head {
            None => Error::new(ErrorKind::NotFound, format!("database {db} has no log that could be sealed")),
            Some(head) => invalid(format!(
                "records of database {db} before {before_seq} cannot be sealed: its newest index record is {}, and only \
                 what is before that is in the log tree",
                head.index_seq
            )),
        }
    }
}

/// All heads, seals and pods of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    heads: BTreeMap<DatabaseId, Head>,
    /// Records before these are not in the journal any more; a database of which nothing was sealed is not here.
    seals: BTreeMap<DatabaseId, u64>,
    pods: BTreeMap<String, (PodVersion, Vec<u8>)>,
    /// The newest version given to any pod. Versions count over the whole store, so that a pod deleted and
    /// made again never takes a version that somebody still expects.
    pod_version_last: PodVersion,
    /// What all of it takes in bytes, about.
    bytes: usize,
}

impl Step {
    /// Refuses what no state could grant. `Invalid` here never depends on what is stored.
    pub(crate) fn check(&self, options: &Options) -> Result<()> {
        match self {
            Step::Append { expected, new_head, record, by, .. } => {
                check_record(record, options)?;
                check_heads(expected.as_ref(), new_head, *by)
            }
            Step::PutPod { name, bytes, .. } => {
                check_pod_name(name)?;
                if bytes.len() > POD_BYTES_MAX {
                    return Err(invalid(format!(
                        "pod {name:?} would be {} bytes, a pod has at most {POD_BYTES_MAX}; put large bytes into a segment",
                        bytes.len()
                    )));
                }
                Ok(())
            }
            Step::DeletePod { name, version } => {
                check_pod_name(name)?;
                if *version == 0 {
                    return Err(invalid(format!(
                        "pod {name:?} cannot be deleted at version 0, which means that it does not exist"
                    )));
                }
                Ok(())
            }
            Step::Replace { record, .. } => check_record(record, options),
            Step::Drop { .. } | Step::Seal { .. } | Step::Keep { .. } | Step::NewFile => Ok(()),
        }
    }
}

impl State {
    /// Judges a step that passed [`Step::check`], and applies what it changes.
    pub(crate) fn judge(&mut self, step: Step) -> (Answer, Option<Change>) {
        let (answer, change) = match step {
            Step::Append { db, expected, new_head, record, .. } => {
                let head = self.head(db);
                match head == expected {
                    false => (Answer::Appended(Appended::Moved(head)), None),
                    true => (Answer::Appended(Appended::Done), Some(Change::Record { db, head: new_head, record })),
                }
            }
            Step::PutPod { name, expected, bytes } => {
                let current = self.pod_version(&name);
                let version = self.pod_version_last + 1;
                match current == expected {
                    false => (Answer::Pod(PodPut::Conflict(current)), None),
                    true => (Answer::Pod(PodPut::Done(version)), Some(Change::PodPut { name, version, bytes })),
                }
            }
            Step::DeletePod { name, version } => {
                let current = self.pod_version(&name);
                match current == version {
                    false => (Answer::Pod(PodPut::Conflict(current)), None),
                    true => (Answer::Pod(PodPut::Done(0)), Some(Change::PodDeleted { name })),
                }
            }
            Step::Drop { db } => (Answer::Dropped, self.head(db).map(|_| Change::Dropped { db })),
            Step::Seal { db, before_seq } => match self.head(db) {
                Some(head) if before_seq <= head.index_seq.max(1) => {
                    let is_news = before_seq > self.sealed_before(db);
                    (Answer::Sealed(Ok(())), is_news.then_some(Change::Sealed { db, before_seq }))
                }
                head => (Answer::Sealed(Err(SealRefused { db, before_seq, head })), None),
            },
            // Files are no part of the state: the backend says when it has a new one.
            Step::NewFile => (Answer::NewFile(false), None),
            Step::Replace { db, seq, old, record, stored } => self.judge_replace(db, seq, old, record, stored),
            Step::Keep { db, mut records } => {
                // The database may have been sealed or dropped since they were read.
                let (before_seq, last) = (self.sealed_before(db), self.head(db).map_or(0, |head| head.seq));
                records.retain(|record| (before_seq..=last).contains(&record.seq));
                (Answer::Kept, (!records.is_empty()).then_some(Change::Kept { db, records }))
            }
        };
        if let Some(change) = &change {
            self.apply(change);
        }
        (answer, change)
    }

    fn judge_replace(
        &self,
        db: DatabaseId,
        seq: u64,
        old: [u8; 32],
        record: Vec<u8>,
        stored: Option<Stored>,
    ) -> (Answer, Option<Change>) {
        let head = self.head(db);
        if !head.is_some_and(|head| (1..=head.seq).contains(&seq)) {
            return (Answer::Replaced(Err(ReplaceRefused { db, seq, head })), None);
        }
        let before_seq = self.sealed_before(db);
        let (replaced, change) = match stored {
            _ if seq < before_seq => (Replaced::Sealed { before_seq }, None),
            Some(stored) if stored.hash == sha256(&record) => (Replaced::Done, None),
            Some(Stored { hash, length: old_length }) if hash == old => {
                (Replaced::Done, Some(Change::Replaced { db, seq, old_length, record }))
            }
            _ => (Replaced::Other, None),
        };
        (Answer::Replaced(Ok(replaced)), change)
    }

    /// Applies a change that was granted before.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Record { db, head, .. } => self.set_head(*db, *head),
            Change::PodPut { name, version, bytes } => {
                self.set_pod(name.clone(), *version, bytes.clone());
                self.pod_version_last = self.pod_version_last.max(*version);
            }
            Change::PodDeleted { name } => {
                if let Some((_, bytes)) = self.pods.remove(name) {
                    self.bytes -= pod_bytes(name, &bytes);
                }
            }
            Change::Dropped { db } => {
                if self.heads.remove(db).is_some() {
                    self.bytes -= HEAD_BYTES;
                }
                if self.seals.remove(db).is_some() {
                    self.bytes -= SEAL_BYTES;
                }
            }
            Change::Sealed { db, before_seq } => self.set_seal(*db, *before_seq),
            // Heads stay.
            Change::Kept { .. } | Change::Replaced { .. } => {}
        }
    }

    pub(crate) fn head(&self, db: DatabaseId) -> Option<Head> {
        self.heads.get(&db).copied()
    }

    pub(crate) fn heads(&self) -> &BTreeMap<DatabaseId, Head> {
        &self.heads
    }

    /// Records before this seq are not in the journal any more; 1 when nothing was sealed.
    pub(crate) fn sealed_before(&self, db: DatabaseId) -> u64 {
        self.seals.get(&db).copied().unwrap_or(1)
    }

    pub(crate) fn seals(&self) -> &BTreeMap<DatabaseId, u64> {
        &self.seals
    }

    pub(crate) fn pods(&self) -> &BTreeMap<String, (PodVersion, Vec<u8>)> {
        &self.pods
    }

    pub(crate) fn pod_version_last(&self) -> PodVersion {
        self.pod_version_last
    }

    /// What all of it takes in bytes, about; a backend bounds it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn set_head(&mut self, db: DatabaseId, head: Head) {
        if self.heads.insert(db, head).is_none() {
            self.bytes += HEAD_BYTES;
        }
    }

    pub(crate) fn set_seal(&mut self, db: DatabaseId, before_seq: u64) {
        if self.seals.insert(db, before_seq).is_none() {
            self.bytes += SEAL_BYTES;
        }
    }

    pub(crate) fn set_pod(&mut self, name: String, version: PodVersion, bytes: Vec<u8>) {
        self.bytes += pod_bytes(&name, &bytes);
        if let Some((_, old)) = self.pods.insert(name.clone(), (version, bytes)) {
            self.bytes -= pod_bytes(&name, &old);
        }
    }

    pub(crate) fn set_pod_version_last(&mut self, version: PodVersion) {
        self.pod_version_last = version;
    }

    fn pod_version(&self, name: &str) -> PodVersion {
        self.pods.get(name).map_or(0, |pod| pod.0)
    }
}

/// A database id, its head, and a tag.
const HEAD_BYTES: usize = 16 + 64 + 1;

/// A database id, a seq, and a tag.
const SEAL_BYTES: usize = 16 + 8 + 1;

fn pod_bytes(name: &str, bytes: &[u8]) -> usize {
    name.len() + bytes.len() + 16
}

fn check_record(record: &[u8], options: &Options) -> Result<()> {
    if record.is_empty() {
        return Err(invalid("a record has at least one byte"));
    }
    if record.len() > options.record_bytes_max {
        return Err(invalid(format!(
            "a record of {} bytes is over the limit of {}; put its body into a segment",
            record.len(),
            options.record_bytes_max
        )));
    }
    Ok(())
}

fn check_heads(expected: Option<&Head>, new: &Head, by: Writer) -> Result<()> {
    let seq_next = expected.map_or(1, |head| head.seq.saturating_add(1));
    if new.seq != seq_next {
        return Err(invalid(format!(
            "a record with seq {} cannot follow {}; the next is {seq_next}",
            new.seq,
            seq_next - 1
        )));
    }
    if new.index_seq > new.seq {
        return Err(invalid(format!("index seq {} lies after the head's seq {}", new.index_seq, new.seq)));
    }
    let Some(old) = expected else { return Ok(()) };
    match by {
        Writer::SameTerm if new.term != old.term => {
            return Err(invalid(format!(
                "an append stays in its term {}, it cannot write term {}; a new writer takes over",
                old.term, new.term
            )));
        }
        Writer::NewTerm if new.term <= old.term => {
            return Err(invalid(format!("a take-over of term {} must begin a higher one, not {}", old.term, new.term)));
        }
        _ => {}
    }
    if new.t < old.t {
        return Err(invalid(format!("t {} cannot follow t {}; t never goes back", new.t, old.t)));
    }
    if new.index_seq < old.index_seq {
        return Err(invalid(format!("index seq {} cannot follow {}", new.index_seq, old.index_seq)));
    }
    Ok(())
}

fn check_pod_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > POD_NAME_BYTES_MAX || name.contains('\0') {
        return Err(invalid(format!(
            "pod name {:?} must have 1 to {POD_NAME_BYTES_MAX} bytes and no NUL",
            name.chars().take(80).collect::<String>()
        )));
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
