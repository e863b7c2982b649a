//! What the databases of a lineage need of each other's segments.
//!
//! A fork's trees hold segments of its origin, and its past is its origin's log tree, which its first record names and
//! nothing else; of that log the first record may name another origin's, and so on. So before a segment of one database
//! goes, the roots of all others are followed: of each the indexes that its own collector has not given up, what it began
//! with, and the logs of all its origins, however old they are. What an index job of another one shares it has from the newest index there.

use super::collect::Pod;
use super::marks::{By, Marks};
use crate::catalogue::{Entry, Standing};
use crate::errors::from_storage;
use crate::host::World;
use cache::Reader;
use db::Result;
use db::log::tree::{self, LogRoot};
use db::log::{self, ForkBody, IndexBody};
use storage::DatabaseId;
use stores::log::{LogReader, TreeLog};
use stores::past::Past;

/// Something that names segments.
pub struct Root {
    reader: Reader,
    trees: Option<IndexBody>,
    log: Option<LogRoot>,
    /// Of a deleted database: what it names may be gone, and with it whatever is below.
    may_be_gone: bool,
}

/// The roots of all databases of a lineage, but of `own` what it began with and its origins' logs alone, since it knows its
/// indexes.
pub fn roots(world: &World, databases: &[Entry], own: DatabaseId, go_on: &dyn Fn() -> Result<()>) -> Result<Vec<Root>> {
    let mut roots = Vec::new();
    for entry in databases {
        go_on()?;
        let (before, is_deleted) = (roots.len(), entry.standing == Standing::Deleted);
        match of_database(world, entry, entry.id != own, &mut roots) {
            Err(_) if is_deleted => {}
            done => done?,
        }
        roots[before..].iter_mut().for_each(|root| root.may_be_gone |= is_deleted);
    }
    Ok(roots)
}

fn of_database(world: &World, entry: &Entry, with_indexes: bool, roots: &mut Vec<Root>) -> Result<()> {
    let (journal, segments) = (&*world.journal, &*world.segments);
    let Some(head) = journal.head(entry.id).map_err(from_storage)? else { return Ok(()) };
    let reader = LogReader::new(journal, segments);
    let id = Some(entry.id);
    let own = Past { journal, segments, lineage: log::DatabaseId(entry.id.0), id, root: None };
    let mut first = own.record(1)?;
    let its_reader = Reader::of(first.header());
    // Of a deleted one it says nothing; what its indexes name may be gone.
    let kept_from = Pod::read(world, entry.id)?.kept_from();
    if let Some(index) = first.fork().map(ForkBody::own_index) {
        // It is kept however old it is, since nothing else says what the fork began with. Only a repair gives it up.
        roots.push(Root { reader: its_reader, trees: Some(index), log: None, may_be_gone: kept_from > 1 });
    }
    while let Some(fork) = first.fork().cloned() {
        let root = fork.index.log;
        roots.push(Root { reader: its_reader, trees: None, log: root, may_be_gone: false });
        let past = Past { journal, segments, lineage: its_reader.lineage, id: None, root };
        first = past.record(1)?;
    }
    if !with_indexes {
        return Ok(());
    }
    let mut next = head.index_seq;
    while next > 0 && next >= kept_from {
        let Some((header, body)) = reader.index(entry.id, next)? else { break };
        next = body.previous;
        let log = body.log;
        roots.push(Root { reader: Reader::of(&header), trees: Some(body), log, may_be_gone: false });
    }
    Ok(())
}

/// Marks all segments that a root names, whosever they are.
pub fn mark(world: &World, root: &Root, marks: &mut Marks, go_on: &dyn Fn() -> Result<()>) -> Result<()> {
    let mut called_off = None;
    let mut visit = |id: &db::index::segment::SegmentId, _: u32, is_branch: bool| {
        if let Err(error) = go_on() {
            called_off = Some(crate::errors::copy(&error));
            return Err(error);
        }
        Ok(marks.mark(id.term, id.job, &id.hash, By::Others, is_branch))
    };
    let mut follow = || {
        if let Some(body) = &root.trees {
            visit(&body.meta.id, body.meta.bytes, false)?;
            let (_, trees) = world.trees(root.reader, body)?;
            trees.each_segment(&mut visit)?;
        }
        if let Some(log) = &root.log {
            let source = TreeLog { segments: &*world.segments, lineage: root.reader.lineage };
            tree::each_segment(log, &source, &mut visit)?;
        }
        Ok(())
    };
    match follow() {
        Err(_) if root.may_be_gone && called_off.is_none() => Ok(()),
        done => done,
    }
}
