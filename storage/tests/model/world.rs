//! The state of the model: a store, two writers, what is on its way between them, and what others were told.
//!
//! Everything is as small as the questions allow: a record is who wrote it under which term and what for, and stands
//! for its bytes and its hash; a segment is who wrote it and how much of the log it covers.

use std::collections::BTreeSet;

pub const WRITERS: u8 = 2;

/// One life of a writer's process, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    pub writer: u8,
    pub number: u8,
}

/// A record. Two that are equal have the same bytes: what differs in truth (random bytes, instants) differs by run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    pub term: u8,
    pub by: Run,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    Create,
    Term,
    /// What a client asked for, by its number.
    Transaction(u8),
    /// New roots: the segment that holds the log so far.
    Index(Segment),
}

/// A segment's key. Its bytes are the log up to `covers`, so that two jobs may well write the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    pub term: u8,
    pub by: Run,
    pub job: u8,
    /// Records 1 to this.
    pub covers: u8,
}

/// An append or a take-over: `record` into slot `seq`, if the record before it is still the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offer {
    pub seq: u8,
    pub expected: Record,
    pub record: Record,
}

/// An offer that has not reached the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sent {
    pub offer: Offer,
    /// Its writer still waits for the answer to this very message.
    pub awaited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store {
    /// Record k at k - 1; those sealed are still here, for the model to compare with.
    pub log: Vec<Record>,
    /// Records before this are not in the journal any more.
    pub sealed_before: u8,
    /// So many records survive a power cut: all, unless the rule is broken.
    pub synced: u8,
    pub segments: BTreeSet<Segment>,
    /// Who holds the lease, where writers trust one.
    pub lease: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writer {
    /// How often its process was started.
    pub runs: u8,
    /// None while it is down.
    pub up: Option<Up>,
}

/// A writer's process while it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Up {
    /// The term it reigns under, 0 before it has one.
    pub term: u8,
    /// The head as it knows it.
    pub seq: u8,
    pub head: Record,
    /// The newest roots it knows.
    pub root: Option<Segment>,
    /// The offer whose outcome it does not know.
    pub open: Option<Open>,
    /// Segments written by its indexing job, whose record is not known to be written or not.
    pub job: Option<Segment>,
    pub jobs: u8,
    /// What its collector has found to be garbage and not yet deleted.
    pub condemned: Option<Segment>,
    /// What it last offered, for the model alone.
    pub offered: Option<Offer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Open {
    pub offer: Offer,
    /// An answer is still waited for; otherwise the slot is to be read.
    pub waiting: bool,
    /// An answer was missing before: a refusal of these bytes no longer says that they are not in the log.
    pub doubtful: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct World {
    pub store: Store,
    pub writers: [Writer; WRITERS as usize],
    /// In order, so that equal states are equal.
    pub sent: Vec<Sent>,
    /// What was acknowledged, with its slot.
    pub promised: BTreeSet<(u8, Record)>,
    /// Transactions whose clients were told that they are not done and never will be.
    pub refused: BTreeSet<u8>,
    /// What a reader saw at some moment.
    pub seen: Option<Vec<Record>>,
    pub transactions: u8,
    /// Answers lost, messages lost or late, refusals: what was spent of the bounds.
    pub mishaps: u8,
    pub power_cuts: u8,
    pub happened: Happened,
}

/// What the last step did that the state alone does not show: sights that prove that the model goes where it should,
/// and one breach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Happened {
    /// A run offered another record for a slot whose outcome it did not know.
    pub another_record_for_an_open_slot: bool,
    pub unknown_found_done: bool,
    pub unknown_offered_again: bool,
    pub late_offer_met_a_new_term: bool,
    pub segment_collected: bool,
}

impl Store {
    pub fn head(&self) -> (u8, Record) {
        // The log begins with the create record.
        (self.log.len() as u8, self.log[self.log.len() - 1])
    }

    pub fn slot(&self, seq: u8) -> Option<Record> {
        self.log.get(usize::from(seq) - 1).copied()
    }

    /// The newest index record's segment.
    pub fn root(&self) -> Option<Segment> {
        self.log.iter().rev().find_map(Record::root)
    }

    /// How far the trees named by index records reach whose segments are there.
    pub fn covered(&self) -> u8 {
        let there = self.log.iter().filter_map(Record::root).filter(|segment| self.segments.contains(segment));
        there.map(|segment| segment.covers).max().unwrap_or(0)
    }
}

impl Record {
    pub fn root(&self) -> Option<Segment> {
        match self.content {
            Content::Index(segment) => Some(segment),
            Content::Create | Content::Term | Content::Transaction(_) => None,
        }
    }
}

impl World {
    /// A database just created, and both writers down.
    pub fn new() -> Self {
        let create = Record { term: 1, by: Run { writer: 0, number: 0 }, content: Content::Create };
        World {
            store: Store { log: vec![create], sealed_before: 1, synced: 1, segments: BTreeSet::new(), lease: None },
            writers: Default::default(),
            sent: Vec::new(),
            promised: BTreeSet::new(),
            refused: BTreeSet::new(),
            seen: None,
            transactions: 0,
            mishaps: 0,
            power_cuts: 0,
            happened: Happened::default(),
        }
    }

    pub fn run(&self, writer: u8) -> Run {
        Run { writer, number: self.writers[usize::from(writer)].runs }
    }

    pub fn up(&self, writer: u8) -> Option<&Up> {
        self.writers[usize::from(writer)].up.as_ref()
    }

    pub fn up_mut(&mut self, writer: u8) -> Option<&mut Up> {
        self.writers[usize::from(writer)].up.as_mut()
    }

    pub fn send(&mut self, offer: Offer) {
        self.sent.push(Sent { offer, awaited: true });
        self.sent.sort();
    }
}
