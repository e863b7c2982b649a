//! The garbage of one database.

use super::Settings;
use super::lineage::{self, Root};
use super::marks::{By, Marks};
use crate::commit::Durable;
use crate::errors::from_storage;
use crate::host::World;
use cache::Reader;
use db::log::{self, BodyPlace, Content, Hash, IndexBody, RawRecord, tree};
use db::{Error, Instant, Result, T};
use process::Failpoint;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{DatabaseId, PodPut, PodVersion, SegmentKey};
use stores::log::{LogReader, TreeLog};

/// What was, or would be, deleted of a database, and what was kept.
#[derive(Clone, Debug)]
pub struct Report {
    pub name: String,
    pub id: DatabaseId,
    /// The indexes whose segments are kept, the newest first.
    pub kept: Vec<Kept>,
    pub rows: BTreeMap<Class, Row>,
}

/// An `index` record whose trees are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub seq: u64,
    pub index_t: T,
    pub instant: Instant,
}

/// Why segments are kept, or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Newest,
    Earlier,
    /// Of another database of the lineage, or what a fork has of its origins.
    Shared,
    Body,
    /// Of a job that may be at work, or of a later term.
    Running,
    /// Of a database that was deleted less than retention ago.
    Waiting,
    /// Of another lineage, or of a job that this version does not know.
    Foreign,
    Unnamed,
    UnnamedBody,
    Deleted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub segments: u64,
    pub bytes: u64,
}

impl Class {
    pub fn goes(self) -> bool {
        matches!(self, Class::Unnamed | Class::UnnamedBody | Class::Deleted)
    }

    pub fn text(self) -> &'static str {
        match self {
            Class::Newest => "of the newest index",
            Class::Earlier => "of earlier indexes, within retention",
            Class::Shared => "of other databases of the lineage",
            Class::Body => "bodies of transactions",
            Class::Running => "of a job that may be at work",
            Class::Waiting => "of a deleted database, within retention",
            Class::Foreign => "of another lineage, or of an unknown job",
            Class::Unnamed => "of no index within retention",
            Class::UnnamedBody => "bodies that no record names",
            Class::Deleted => "of a deleted database",
        }
    }
}

impl Report {
    pub fn new(name: &str, id: DatabaseId) -> Report {
        Report { name: name.to_owned(), id, kept: Vec::new(), rows: BTreeMap::new() }
    }

    /// Segments and bytes that go.
    pub fn gone(&self) -> (u64, u64) {
        let going = self.rows.iter().filter(|(class, _)| class.goes());
        going.fold((0, 0), |sum, (_, row)| (sum.0 + row.segments, sum.1 + row.bytes))
    }

    pub fn add(&mut self, class: Class, bytes: u64) {
        let row = self.rows.entry(class).or_default();
        row.segments += 1;
        row.bytes += bytes;
    }
}

/// Keys looked at, and deleted, in one step.
pub const KEYS_AT_ONCE: usize = 500;
/// Of the log read at once.
const READ_BYTES: usize = 4 << 20;
/// Bodies that are held against the log in one collection; the others wait for the next.
const BODIES_MAX: usize = 1 << 20;
/// Indexes that are kept are always at least so many.
const KEPT_MIN: usize = 2;

/// One collection of one database.
pub struct Collection<'a> {
    pub world: &'a World,
    pub settings: &'a Settings,
    /// What it is judged by, as of its beginning.
    pub durable: Arc<Durable>,
    pub id: DatabaseId,
    pub lineage: DatabaseId,
    /// What else of the lineage names its segments.
    pub shared: &'a [Root],
    pub name: &'a str,
    pub dry_run: bool,
    /// Asked now and then.
    pub go_on: &'a dyn Fn() -> Result<()>,
    pub point: &'a Failpoint,
}

impl Collection<'_> {
    /// `bodies_term`: bodies of terms before it were looked through by this process, and are left.
    pub fn run(&self, bodies_term: &mut u64) -> Result<Report> {
        let mut report = Report::new(self.name, self.id);
        let pod = Pod::read(self.world, self.id)?;
        report.kept = self.kept(pod.kept_from())?;
        if let (false, Some(oldest)) = (self.dry_run, report.kept.last()) {
            // Before anything goes: what older indexes name is not whole from here on.
            pod.keep_from(self.world, oldest.seq)?;
        }
        self.point.pass();
        let orphans = self.unnamed_bodies(*bodies_term)?;
        let mut marks = Marks::new(self.settings.marks_max);
        loop {
            self.mark(&report.kept, &mut marks)?;
            if marks.shrink() {
                // Of what was deleted already there is nothing to be counted twice.
                if self.dry_run {
                    report.rows.clear();
                }
                continue;
            }
            self.sweep(&marks, &orphans, *bodies_term, &mut report)?;
            if !marks.next_part() {
                break;
            }
        }
        if !self.dry_run && orphans.len() < BODIES_MAX {
            *bodies_term = self.durable.head.term;
        }
        Ok(report)
    }

    fn log(&self) -> LogReader<'_> {
        LogReader::new(&*self.world.journal, &*self.world.segments)
    }

    /// The indexes within retention, the newest first; never before one that was given up earlier.
    fn kept(&self, kept_from: u64) -> Result<Vec<Kept>> {
        let now = self.world.clock.now();
        let retention = i64::try_from(self.settings.retention.as_millis()).unwrap_or(i64::MAX);
        let mut kept: Vec<Kept> = Vec::new();
        let mut next = self.durable.index.as_ref().map_or(0, |index| index.0);
        while next > 0 && next >= kept_from {
            (self.go_on)()?;
            // It was the newest until the one after it was named.
            let until = kept.last().map_or(now, |after| after.instant);
            if kept.len() >= KEPT_MIN && until.0.saturating_add(retention) <= now.0 {
                break;
            }
            let (header, body) = self.index(next)?;
            kept.push(Kept { seq: next, index_t: body.index_t, instant: header.instant });
            next = body.previous;
        }
        Ok(kept)
    }

    fn index(&self, seq: u64) -> Result<(log::Header, IndexBody)> {
        self.log().index(self.id, seq)?.ok_or_else(|| {
            let message = format!("record {seq} is named as an index, which it is not");
            Error::corrupt("db.error/storage-corrupt", message).with("seq", seq as i64)
        })
    }

    /// Marks all segments of these indexes. Branches are read, leaves and chunks are not.
    fn mark(&self, kept: &[Kept], marks: &mut Marks) -> Result<()> {
        for (i, index) in kept.iter().enumerate() {
            let (header, body) = self.index(index.seq)?;
            let mut visit = |id: &db::index::segment::SegmentId, _: u32, is_branch: bool| {
                (self.go_on)()?;
                let by = if i == 0 { By::Newest } else { By::Earlier };
                Ok(marks.mark(id.term, id.job, &id.hash, by, is_branch))
            };
            visit(&body.meta.id, body.meta.bytes, false)?;
            let (_, trees) = self.world.trees(Reader::of(&header), &body)?;
            trees.each_segment(&mut visit)?;
            if let Some(root) = &body.log {
                let source = TreeLog { segments: &*self.world.segments, lineage: header.lineage };
                tree::each_segment(root, &source, &mut visit)?;
            }
        }
        self.shared.iter().try_for_each(|root| lineage::mark(self.world, root, marks, self.go_on))
    }

    /// Goes through the segments of a part, and deletes what is garbage.
    fn sweep(
        &self,
        marks: &Marks,
        orphans: &BTreeMap<(u64, Hash), ()>,
        bodies_term: u64,
        report: &mut Report,
    ) -> Result<()> {
        let segments = &*self.world.segments;
        let mut after: Option<SegmentKey> = None;
        loop {
            (self.go_on)()?;
            self.point.pass();
            let keys = segments.list(self.id, after.as_ref(), KEYS_AT_ONCE).map_err(from_storage)?;
            let Some(last) = keys.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut garbage = Vec::new();
            for key in keys.into_iter().filter(|key| marks.is_of_part(&key.hash)) {
                let class = self.class(&key, marks, orphans, bodies_term);
                // Told of all where it is asked for, otherwise of what goes.
                if self.dry_run || class.goes() {
                    let Some(bytes) = segments.length(&key).map_err(from_storage)? else { continue };
                    report.add(class, bytes);
                }
                if class.goes() {
                    garbage.push(key);
                }
            }
            if !self.dry_run && !garbage.is_empty() {
                segments.delete_all(&garbage).map_err(from_storage)?;
            }
        }
    }

    fn class(&self, key: &SegmentKey, marks: &Marks, orphans: &BTreeMap<(u64, Hash), ()>, bodies_term: u64) -> Class {
        let term = self.durable.head.term;
        if key.lineage != self.lineage {
            return Class::Foreign;
        }
        if key.job == BodyPlace::JOB {
            let is_orphan = key.term >= bodies_term && orphans.contains_key(&(key.term, key.hash));
            return if is_orphan { Class::UnnamedBody } else { Class::Body };
        }
        let Some(job) = key.job.strip_prefix("index-").and_then(|job| job.parse::<u64>().ok()) else {
            return Class::Foreign;
        };
        match marks.of(key.term, job, &key.hash) {
            Some(By::Newest) => return Class::Newest,
            Some(By::Earlier) => return Class::Earlier,
            Some(By::Others) => return Class::Shared,
            None => {}
        }
        // Of this term, jobs before the one that made the newest index are over. What a fork begins with was made of its
        // origin's log, whose terms and seqs say nothing of its own.
        let newest = self.durable.index.as_ref().filter(|index| index.0 > 1).map(|index| &index.1.chain);
        let newest = newest.filter(|chain| chain.term == term);
        match key.term < term || (key.term == term && newest.is_some_and(|newest| job < newest.seq)) {
            true => Class::Unnamed,
            false => Class::Running,
        }
    }

    /// Bodies of terms that are over, from the one given on, which no record names.
    fn unnamed_bodies(&self, from_term: u64) -> Result<BTreeMap<(u64, Hash), ()>> {
        let mut bodies = self.bodies(from_term)?;
        let Some(last_term) = bodies.last_key_value().map(|(key, ())| key.0) else { return Ok(bodies) };
        let mut seq = 1;
        'log: while !bodies.is_empty() && seq <= self.durable.head.seq {
            (self.go_on)()?;
            let records = self.log().read(self.id, seq, READ_BYTES)?;
            let Some(last) = records.last() else { break };
            seq = last.seq + 1;
            for stored in &records {
                let record = RawRecord::parse(&stored.bytes)?;
                if record.header.term > last_term {
                    break 'log;
                }
                if let Content::OutOfLine(place) = record.content {
                    bodies.remove(&(place.term, place.hash));
                }
            }
        }
        Ok(bodies)
    }

    fn bodies(&self, from_term: u64) -> Result<BTreeMap<(u64, Hash), ()>> {
        let mut found = BTreeMap::new();
        let mut after: Option<SegmentKey> = None;
        loop {
            (self.go_on)()?;
            let keys = self.world.segments.list(self.id, after.as_ref(), KEYS_AT_ONCE).map_err(from_storage)?;
            let Some(last) = keys.last() else { return Ok(found) };
            after = Some(last.clone());
            for key in keys {
                let is_over = key.term >= from_term && key.term < self.durable.head.term;
                if is_over && key.job == BodyPlace::JOB && found.len() < BODIES_MAX {
                    found.insert((key.term, key.hash), ());
                }
            }
        }
    }
}

/// What a collector leaves for the next one: the pod `gc/ID`, as text. `kept SEQ`: indexes from this one on are whole.
/// `deleted MS`: the database was found deleted at this instant.
pub struct Pod {
    name: String,
    version: PodVersion,
    text: String,
}

impl Pod {
    pub fn read(world: &World, id: DatabaseId) -> Result<Pod> {
        let name = format!("gc/{id}");
        let (version, bytes) = world.journal.read_pod(&name).map_err(from_storage)?.unwrap_or_default();
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::corrupt("db.error/storage-corrupt", format!("pod {name:?} does not hold text")))?;
        Ok(Pod { name, version, text })
    }

    /// The oldest index that is whole; 0 where all are.
    pub fn kept_from(&self) -> u64 {
        self.number("kept")
    }

    /// The index that a repair made, 0 for none: what a fork began with need not be whole before it.
    pub fn repaired(&self) -> u64 {
        self.number("repaired")
    }

    /// `kept SEQ`, and once there was a repair `kept SEQ repaired SEQ`.
    fn number(&self, word: &str) -> u64 {
        let mut words = self.text.split(' ').skip_while(|next| *next != word);
        words.nth(1).and_then(|seq| seq.parse().ok()).unwrap_or(0)
    }

    pub fn keep_from(self, world: &World, seq: u64) -> Result<()> {
        let repaired = self.repaired();
        self.keep(world, seq, repaired)
    }

    /// A repair has given up all indexes before one.
    pub fn repaired_at(self, world: &World, seq: u64) -> Result<()> {
        self.keep(world, seq, seq)
    }

    fn keep(self, world: &World, seq: u64, repaired: u64) -> Result<()> {
        if self.kept_from() >= seq {
            return Ok(());
        }
        let text = match repaired {
            0 => format!("kept {seq}"),
            repaired => format!("kept {seq} repaired {repaired}"),
        };
        self.put(world, text)
    }

    pub fn deleted_at(&self) -> Option<Instant> {
        self.text.strip_prefix("deleted ").and_then(|ms| ms.parse().ok()).map(Instant)
    }

    pub fn put(self, world: &World, text: String) -> Result<()> {
        let Pod { name, version, .. } = self;
        match world.journal.put_pod(&name, version, text.as_bytes()).map_err(from_storage)? {
            PodPut::Done(_) => Ok(()),
            PodPut::Conflict(_) => Err(crate::errors::fenced(format!("pod {name:?} was changed by another collector"))),
        }
    }

    pub fn delete(&self, world: &World) -> Result<()> {
        if self.version > 0 {
            world.journal.delete_pod(&self.name, self.version).map_err(from_storage)?;
        }
        Ok(())
    }
}
