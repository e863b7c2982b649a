//! Records on their way into a follower: read off the connection and checked while those before them are applied.
//!
//! What can be said of a record by itself is checked here: that its header is one, and that its body is the one that
//! the header names. Messages are checked side by side and handed over in the order in which they came. Whether they
//! continue the log is the follower's to say.

use crate::remote::{Incoming, Remote};
use bytes::Bytes;
use db::log::{Content, Frames, RawRecord};
use db::replay::Checked;
use db::{Error, Result};
use process::Executor;
use proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Messages of more bytes than this are checked on a thread of their own.
pub const INLINE_BYTES: usize = 16 << 10;

/// Checked records in order, and what came after them.
#[derive(Default)]
pub struct Batch {
    pub records: Vec<Checked>,
    pub bytes: usize,
    /// Where the transactor says that its log ends, right after these records.
    pub head: Option<v1::Head>,
    pub end: End,
}

/// Whether more comes after a batch.
#[derive(Default)]
pub enum End {
    #[default]
    NotYet,
    /// The stream was ended as it should.
    InOrder,
    Trouble(Error),
}

/// Batches as they come. Dropping it ends the reading.
pub struct Intake {
    batches: mpsc::Receiver<Pending>,
    waiting: Waiting,
    /// Taken from the queue, but not due yet.
    next: Option<Pending>,
    reader: JoinHandle<()>,
}

/// Tells how many messages wait in an intake, for whoever shows it. Cheap to clone.
#[derive(Clone)]
pub struct Waiting(mpsc::WeakSender<Pending>);

pub enum Pending {
    Checked(Batch),
    /// Elsewhere.
    Checking(oneshot::Receiver<Batch>),
}

/// A message that brings records.
pub trait Brings: Send + 'static {
    fn bytes(&self) -> usize;

    /// Where the log ends, if the message says it.
    fn head(&mut self) -> Option<v1::Head>;

    /// Reads the records; computes, and does not wait. After an error none follows.
    fn read(self) -> Vec<Result<Read>>;
}

/// A record that was read: whole, or without the body that lies out of line.
// Nearly all are whole, so that a box would cost an allocation for each and save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Read {
    Whole(Checked),
    Bodiless(Bytes),
}

impl Intake {
    /// Reads until the stream ends. At most `waiting_max` messages wait, in whatever state; beyond them the connection
    /// is not read.
    pub fn start<M: Brings>(
        remote: Remote,
        mut incoming: Incoming<M>,
        waiting_max: usize,
        executor: Executor,
    ) -> Intake {
        let (sender, batches) = mpsc::channel(waiting_max);
        let waiting = Waiting(sender.downgrade());
        let reader = executor.task(async move {
            loop {
                let (pending, ended) = match incoming.next().await {
                    Ok(Some(message)) if message.bytes() > INLINE_BYTES => {
                        let (checked, checking) = oneshot::channel();
                        let remote = remote.clone();
                        // Whoever waited for it may have gone away.
                        executor.task(async move { drop(checked.send(check(message, &remote, executor).await)) });
                        (Pending::Checking(checking), false)
                    }
                    Ok(Some(message)) => (Pending::Checked(check(message, &remote, executor).await), false),
                    Ok(None) => (Pending::Checked(Batch::last(End::InOrder)), true),
                    Err(error) => (Pending::Checked(Batch::last(End::Trouble(error))), true),
                };
                if sender.send(pending).await.is_err() || ended {
                    return;
                }
            }
        });
        Intake { batches, waiting, next: None, reader }
    }

    pub fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }

    /// The next records; small batches that wait already come as one, up to about `bytes_max`.
    pub async fn next(&mut self, bytes_max: usize) -> Batch {
        let first = match self.next.take() {
            Some(pending) => Some(pending),
            None => self.batches.recv().await,
        };
        let mut batch = match first {
            Some(Pending::Checked(batch)) => batch,
            Some(Pending::Checking(checking)) => checking
                .await
                .unwrap_or_else(|_| Batch::last(End::Trouble(Error::fault("records could not be read: a panic")))),
            // Nobody asks again after the last batch.
            None => Batch::last(End::Trouble(Error::fault("the stream could not be read: a panic"))),
        };
        while batch.bytes < bytes_max
            && batch.head.is_none()
            && matches!(batch.end, End::NotYet)
            && let Ok(pending) = self.batches.try_recv()
        {
            match pending {
                Pending::Checked(more) => batch.append(more),
                checking => {
                    self.next = Some(checking);
                    break;
                }
            }
        }
        batch
    }
}

impl Waiting {
    /// Messages that wait, and how many may; None when nothing is read any more.
    pub fn length(&self) -> Option<(usize, usize)> {
        self.0.upgrade().map(|sender| (sender.max_capacity() - sender.capacity(), sender.max_capacity()))
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Batch {
    fn last(end: End) -> Batch {
        Batch { end, ..Default::default() }
    }

    fn append(&mut self, more: Batch) {
        self.records.extend(more.records);
        self.bytes += more.bytes;
        self.head = more.head;
        self.end = more.end;
    }
}

/// Reads a message's records, and fetches the bodies that lie elsewhere.
async fn check<M: Brings>(mut message: M, remote: &Remote, executor: Executor) -> Batch {
    let mut batch = Batch { bytes: message.bytes(), head: message.head(), ..Default::default() };
    let read = if batch.bytes > INLINE_BYTES {
        executor.blocking(move || Ok(message.read())).await.unwrap_or_else(|error| vec![Err(error)])
    } else {
        message.read()
    };
    batch.records.reserve(read.len());
    for read in read {
        let checked = match read {
            Ok(Read::Whole(checked)) => Ok(checked),
            Ok(Read::Bodiless(bytes)) => with_body(bytes, remote, executor).await,
            Err(error) => Err(error),
        };
        match checked {
            Ok(checked) => batch.records.push(checked),
            Err(error) => {
                batch.end = End::Trouble(error);
                break;
            }
        }
    }
    batch
}

async fn with_body(bytes: Bytes, remote: &Remote, executor: Executor) -> Result<Checked> {
    let Content::OutOfLine(place) = RawRecord::parse(&bytes)?.content else {
        return Err(Error::fault("a record's body is in line and was not read"));
    };
    let segment = remote.body(&place).await?;
    executor.blocking(move || Checked::read(&RawRecord::parse(&bytes)?, Some(&segment))).await
}

fn read(bytes: impl FnOnce() -> Bytes, record: &RawRecord<'_>) -> Result<Read> {
    match &record.content {
        Content::Body(_) => Checked::read(record, None).map(Read::Whole),
        Content::OutOfLine(_) => Ok(Read::Bodiless(bytes())),
    }
}

impl Brings for v1::ReadLogResponse {
    fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.bytes.len()).sum()
    }

    fn head(&mut self) -> Option<v1::Head> {
        None
    }

    fn read(self) -> Vec<Result<Read>> {
        if self.sealed_before_seq > 0 {
            let message = "the log's beginning is in the log tree, which this version does not read";
            return vec![Err(Error::unsupported("db.error/log-sealed", message))];
        }
        let read = |stored: &v1::StoredRecord| read(|| stored.bytes.clone(), &RawRecord::parse(&stored.bytes)?);
        self.records.iter().map(read).collect()
    }
}

impl Brings for v1::FollowResponse {
    fn bytes(&self) -> usize {
        self.frames.len()
    }

    fn head(&mut self) -> Option<v1::Head> {
        self.heartbeat.take()
    }

    fn read(self) -> Vec<Result<Read>> {
        let frames = Frames::new(&self.frames);
        frames.map(|frame| frame.and_then(|(bytes, record)| read(|| self.frames.slice_ref(bytes), &record))).collect()
    }
}
