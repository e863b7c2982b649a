//! Steps of the model, taken on a real store: the same answers, the same records, the same head, after every step.

use super::rules::Answer;
use super::walk::{Ask, Expected, Step};
use super::world::{Content, Offer, Record, Segment, Store as Expectation};
use diachron_storage::conformance::{noise, read_all, sealed_before};
use diachron_storage::faulty::{Fault, FaultyJournal};
use diachron_storage::{
    Appended, DatabaseId, ErrorKind, Head, Journal, Records, Result, SegmentKey, Segments, Store, sha256,
};
use std::sync::Arc;

/// The roles of a store as the model's writers use them, each way through the model with a database of its own.
pub struct Driver {
    pub journal: Arc<FaultyJournal>,
    segments: Arc<dyn Segments>,
}

/// A database on which a way is taken.
#[derive(Clone, Copy, Debug)]
pub struct Place(pub u64);

/// Some records take one item of an engine, some take several.
const LONG_BYTES: usize = 9000;

impl Driver {
    pub fn new(store: &Store) -> Self {
        Driver { journal: Arc::new(FaultyJournal::new(store.journal())), segments: store.segments() }
    }

    /// Puts the database there that every way begins with.
    pub fn begin(&self, place: Place, log: &[Record]) {
        let bytes = bytes(1, &log[0]);
        let appended = self.journal.append(place.database(), None, head(&log[..1]), &bytes).unwrap();
        assert_eq!(appended, Appended::Done);
    }

    /// Takes a step from a store that holds `before`.
    pub fn take(&self, place: Place, before: &Expectation, step: &Step) {
        self.ask(place, before, step);
        self.holds(place, &step.after);
    }

    fn ask(&self, place: Place, before: &Expectation, step: &Step) {
        match (step.ask, step.expected) {
            (Ask::Offer(offer), Expected::Answer(answer)) => {
                let expected = match answer {
                    Answer::Done => Appended::Done,
                    Answer::Moved => Appended::Moved(Some(head(&before.log))),
                    Answer::Busy => unreachable!("{step:?}"),
                };
                let given = self.offer(place, before, &offer).unwrap();
                assert_eq!(given, expected, "{place:?}: {offer:?} on {before:?}");
            }
            (Ask::OfferUnanswered(offer), _) => {
                self.journal.then(Fault::AnswerLost);
                self.refused(place, before, &offer, ErrorKind::Unknown);
            }
            (Ask::OfferLost(offer), _) => {
                self.journal.then(Fault::StepLost);
                self.refused(place, before, &offer, ErrorKind::Unknown);
            }
            (Ask::OfferTurnedAway(offer), _) => {
                self.journal.then(Fault::Busy);
                self.refused(place, before, &offer, ErrorKind::Busy);
            }
            (Ask::Look(offer), Expected::Slot(expected)) => {
                let seq = u64::from(offer.seq);
                let before_seq = u64::from(before.sealed_before);
                let found = match self.journal.read(place.database(), seq, 1).unwrap() {
                    Records::Found(found) => found.into_iter().next().map(|record| (record.seq, record.bytes)),
                    sealed => {
                        let expected = Records::Sealed { before_seq };
                        assert!(seq < before_seq && sealed == expected, "{place:?}: {step:?}: {sealed:?}");
                        return;
                    }
                };
                assert!(found == expected.map(|record| (seq, bytes(offer.seq, &record))), "{place:?}: {step:?}");
            }
            (Ask::Put(segment), _) => {
                let (key, bytes) = place.segment(&segment);
                self.segments.put(&key, &bytes).unwrap();
            }
            (Ask::Seal(before_seq), _) => self.journal.seal(place.database(), u64::from(before_seq)).unwrap(),
            (Ask::Delete(segment), _) => self.segments.delete(&place.segment(&segment).0).unwrap(),
            _ => unreachable!("{step:?}"),
        }
    }

    fn refused(&self, place: Place, before: &Expectation, offer: &Offer, kind: ErrorKind) {
        let error = self.offer(place, before, offer).unwrap_err();
        assert_eq!(error.kind(), kind, "{place:?}: {offer:?} on {before:?}: {error}");
    }

    fn offer(&self, place: Place, before: &Expectation, offer: &Offer) -> Result<Appended> {
        // A writer's head is always one that the log had.
        let mut log = before.log[..usize::from(offer.seq) - 1].to_vec();
        assert_eq!(log.last(), Some(&offer.expected));
        let expected = head(&log);
        log.push(offer.record);
        let (new_head, bytes) = (head(&log), bytes(offer.seq, &offer.record));
        match offer.record.content {
            Content::Term => self.journal.take_over(place.database(), expected, new_head, &bytes),
            _ => self.journal.append(place.database(), Some(expected), new_head, &bytes),
        }
    }

    /// The store holds exactly this.
    pub fn holds(&self, place: Place, expectation: &Expectation) {
        let db = place.database();
        assert_eq!(self.journal.head(db).unwrap(), Some(head(&expectation.log)), "{place:?}: head of {expectation:?}");
        let there: Vec<_> = read_all(&*self.journal, db).into_iter().map(|record| record.bytes).collect();
        assert_eq!(sealed_before(&*self.journal, db), u64::from(expectation.sealed_before), "{place:?}: seal");
        let records = (1..).zip(&expectation.log).filter(|(seq, _)| *seq >= expectation.sealed_before);
        let expected: Vec<_> = records.map(|(seq, record)| bytes(seq, record)).collect();
        assert!(there == expected, "{place:?}: the records are not those of {expectation:?}");
        let mut expected: Vec<_> = expectation.segments.iter().map(|segment| place.segment(segment)).collect();
        expected.sort();
        let keys: Vec<_> = expected.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(self.segments.list(db, None, 1000).unwrap(), keys, "{place:?}: the segments of {expectation:?}");
        for (key, bytes) in expected {
            assert!(self.segments.get(&key).unwrap() == Some(bytes), "{place:?}: {key:?} came back changed");
        }
    }
}

impl Place {
    pub fn database(self) -> DatabaseId {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&self.0.to_be_bytes());
        DatabaseId(id)
    }

    /// Two jobs that cover the same records write the same bytes, under names of their own.
    fn segment(self, segment: &Segment) -> (SegmentKey, Vec<u8>) {
        let bytes = noise(u64::from(segment.covers), 600);
        let key = SegmentKey {
            lineage: DatabaseId([200; 16]),
            database: self.database(),
            term: u64::from(segment.term),
            job: format!("index-{}", segment.job),
            hash: sha256(&bytes),
        };
        (key, bytes)
    }
}

/// The bytes that a record of the model stands for.
fn bytes(seq: u8, record: &Record) -> Vec<u8> {
    let mut bytes = format!("{seq} {record:?}").into_bytes();
    if let Content::Transaction(number) = record.content
        && number % 2 == 1
    {
        bytes.extend(noise(u64::from(number), LONG_BYTES));
    }
    bytes
}

/// The head of a log: its hash is of the last record and of the hash before it.
fn head(log: &[Record]) -> Head {
    let mut head = Head { term: 0, seq: 0, t: 0, hash: [0; 32], index_seq: 0 };
    for (seq, record) in (1u8..).zip(log) {
        head.term = u64::from(record.term);
        head.seq = u64::from(seq);
        match record.content {
            Content::Transaction(_) => head.t += 1,
            Content::Index(_) => head.index_seq = u64::from(seq),
            Content::Create | Content::Term => {}
        }
        head.hash = sha256(&[&head.hash[..], &bytes(seq, record)].concat());
    }
    head
}
