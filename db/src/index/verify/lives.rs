//! Whether trees have the lives that the log tells of: by their number and by sums of hashes, so that nothing is kept.
//!
//! Every `e a v` that was said began a life, every one that was taken back ended one. So the lives that are open are
//! those said without those taken back; all lives together began when something was said; the closed ones ended when
//! something was taken back. Lives of attributes without history are in no tree once they are over; where there is such
//! an attribute, or ever was, only the open lives are compared.

use super::super::segment::{Attributes, Node, SegmentId, Source};
use super::super::stats::hash_of;
use super::super::trees::{Root, TreeRow};
use super::super::{Life, Sort, Trees};
use crate::Result;
use crate::log::LoggedDatom;
use crate::model::{Datom, EntityId, T, Value};
use crate::schema::ids;

/// Lives as sums. Add what was said in order, [`Lives::of_trees`] for the other side, and ask for the [`Lives::differences`].
#[derive(Clone, Debug, Default)]
pub struct Lives {
    /// Open, whenever they began.
    open: Sum,
    /// All, by when they began.
    begun: Sum,
    /// Closed, by when they ended.
    ended: Sum,
    without_history: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: i64,
    hashes: u64,
}

impl Sum {
    fn add(&mut self, hash: u64) {
        self.rows += 1;
        self.hashes = self.hashes.wrapping_add(hash);
    }

    fn take(&mut self, hash: u64) {
        self.rows -= 1;
        self.hashes = self.hashes.wrapping_sub(hash);
    }
}

fn hash(e: EntityId, a: EntityId, v: &Value, t: T) -> u64 {
    hash_of(&[e.as_u64(), a.as_u64(), t], v)
}

impl Lives {
    /// What a transaction said.
    pub fn said(&mut self, datoms: &[LoggedDatom], t: T) {
        for LoggedDatom { e, a, v, added } in datoms {
            self.without_history |= *a == ids::NO_HISTORY;
            match added {
                true => {
                    self.open.add(hash(*e, *a, v, T::MAX));
                    self.begun.add(hash(*e, *a, v, t));
                }
                false => {
                    self.open.take(hash(*e, *a, v, T::MAX));
                    self.ended.add(hash(*e, *a, v, t));
                }
            }
        }
    }

    /// Reads the two EAVT trees. `go_on` is asked at every segment.
    pub fn of_trees(trees: &Trees, attributes: &Attributes, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Lives> {
        let mut lives = Lives::default();
        // An attribute that the schema does not know cannot have been decoded.
        let entity = |datom: &Datom| attributes.entity(datom.a()).unwrap_or(datom.e);
        each_row(&*trees.source, trees.open.of(Sort::Eavt), go_on, &mut |datom: &Datom| {
            let a = entity(datom);
            lives.open.add(hash(datom.e, a, &datom.v, T::MAX));
            lives.begun.add(hash(datom.e, a, &datom.v, datom.t()));
        })?;
        each_row(&*trees.source, trees.closed.of(Sort::Eavt), go_on, &mut |life: &Life| {
            let (datom, a) = (&life.datom, entity(&life.datom));
            lives.begun.add(hash(datom.e, a, &datom.v, datom.t()));
            lives.ended.add(hash(datom.e, a, &datom.v, life.to));
        })?;
        Ok(lives)
    }

    /// What trees have that the log does not tell of, or the other way round; `self` is the log's.
    pub fn differences(&self, trees: &Lives) -> Vec<String> {
        let compared = match self.without_history {
            true => vec![("open lives", self.open, trees.open)],
            false => vec![
                ("open lives", self.open, trees.open),
                ("lives, by when they began", self.begun, trees.begun),
                ("closed lives, by when they ended", self.ended, trees.ended),
            ],
        };
        let differ = compared.into_iter().filter(|(_, log, trees)| log != trees);
        differ
            .map(|(what, log, trees)| match log.rows == trees.rows {
                true => format!("{} {what}, as many as the log tells of, but others", trees.rows),
                false => format!("{} {what}, where the log tells of {}", trees.rows, log.rows),
            })
            .collect()
    }
}

fn each_row<R: TreeRow>(
    source: &dyn Source,
    root: Option<&Root<R>>,
    go_on: &mut dyn FnMut() -> Result<()>,
    each: &mut dyn FnMut(&R),
) -> Result<()> {
    root.map_or(Ok(()), |root| each_below(source, &root.summary.id, root.summary.depth, go_on, each))
}

fn each_below<R: TreeRow>(
    source: &dyn Source,
    id: &SegmentId,
    depth: u8,
    go_on: &mut dyn FnMut() -> Result<()>,
    each: &mut dyn FnMut(&R),
) -> Result<()> {
    go_on()?;
    let segment = R::fetch(source, id)?;
    match R::node(&segment) {
        Some(Node::Leaf(rows)) => rows.iter().for_each(each),
        Some(Node::Branch(children)) if depth > 0 => {
            let ids: Vec<SegmentId> = children.iter().map(|child| child.id).collect();
            source.will_read(&ids);
            for id in ids {
                each_below(source, &id, depth - 1, go_on, each)?;
            }
        }
        // The walk that holds nodes against what is said of them tells of it.
        _ => {}
    }
    Ok(())
}
