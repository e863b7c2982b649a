//! Moving a database value from trees to newer trees.

use super::Db;
use super::db::Base;
use crate::index::segment::{Meta, MetaAttribute, Sizes, Source};
use crate::index::{Index, Merged, Sink, Trees, merge_trees};
use crate::model::{AttrId, T};
use crate::schema::{Attribute, Schema};
use crate::{Error, Result};
use std::ops::ControlFlow;
use std::sync::Arc;

impl Db {
    /// The trees that the value stands on.
    pub fn trees(&self) -> Option<&Arc<Trees>> {
        self.base.index.trees.as_ref()
    }

    /// The last t that stands in trees, 0 where there are none.
    pub fn index_t(&self) -> T {
        self.trees().map_or(0, |trees| trees.index_t)
    }

    /// What novelty takes in memory, about.
    pub fn novelty_bytes(&self) -> usize {
        self.base.index.novelty.bytes()
    }

    /// Entities up to here have had their ids, whether anything is said of them any more or not.
    pub(crate) fn count_on_from(&mut self, next_counter: u64) {
        let base = Arc::make_mut(&mut self.base);
        base.next_counter = base.next_counter.max(next_counter);
    }

    /// Makes trees that hold all of this value, its view left aside. `go_on` is asked now and then, and ends the job
    /// with its error.
    pub fn merge(&self, sizes: Sizes, sink: &mut dyn Sink, go_on: &mut dyn FnMut() -> Result<()>) -> Result<Merged> {
        let covers = |a: AttrId| self.schema().attribute(a).has_avet();
        merge_trees(&self.base.index, &covers, sizes, sink, go_on)
    }

    /// What an index of this value says of attributes. AVET has had the facts of those it covers from the beginning.
    pub fn meta(&self) -> Meta {
        let attribute = |attribute: &Attribute| MetaAttribute {
            attribute: attribute.clone(),
            avet_since: attribute.has_avet().then_some(0),
        };
        let attributes = self.schema().attributes().map(|(_, known)| attribute(known)).collect();
        Meta { attributes, stats: self.base.index.stats.clone() }
    }

    /// The trees that [`Db::merge`] of this value made.
    pub fn trees_of(&self, merged: Merged, source: Arc<dyn Source>) -> Trees {
        let Merged { open, closed } = merged;
        Trees { index_t: self.basis_t(), open, closed, stats: self.base.index.stats.clone(), source }
    }

    /// This value on newer trees, which hold its transactions up to their index-t: novelty is what was said after it.
    pub fn onto(&self, trees: Arc<Trees>) -> Result<Db> {
        let index_t = trees.index_t;
        let index = Index { stats: trees.stats.clone(), trees: Some(trees), ..Index::default() };
        self.with_index(index, index_t)
    }

    /// This value on the trees of `prepared`, an earlier value of the same database that was moved already: only what
    /// was said between the two is applied.
    pub fn onto_those_of(&self, prepared: &Db) -> Result<Db> {
        self.with_index(prepared.base.index.clone(), prepared.basis_t())
    }

    /// `index` holds what was said up to `upto`. What was said after it must be in novelty, all of it: trees that are
    /// older than ours, or of a later value, are refused.
    fn with_index(&self, mut index: Index, upto: T) -> Result<Db> {
        let mut reached = upto;
        let mut after = Vec::new();
        let _ = self.base.index.novelty.said_after(upto, &mut |said| {
            if said.t == reached + 1 {
                reached = said.t;
                after.push(said.clone());
            }
            ControlFlow::Continue(())
        });
        if reached != self.basis_t() {
            let (basis_t, index_t) = (self.basis_t(), self.index_t());
            let message = format!(
                "trees up to t {upto} cannot carry a value of t {basis_t} whose novelty begins after t {index_t}"
            );
            return Err(Error::fault(message));
        }
        index.say(self.schema(), &after)?;
        let base = Base { index, ..Base::clone(&self.base) };
        Ok(Db { base: Arc::new(base), view: self.view })
    }

    /// The same value, the segments of its trees read by way of another source: for one question whose reads are counted.
    pub fn reading_through(&self, other: impl FnOnce(&Arc<dyn Source>) -> Arc<dyn Source>) -> Db {
        let Some(trees) = self.trees() else { return self.clone() };
        let trees = Arc::new(trees.read_from(other(&trees.source)));
        let index = Index { trees: Some(trees), ..self.base.index.clone() };
        let base = Base { index, ..Base::clone(&self.base) };
        Db { base: Arc::new(base), view: self.view }
    }

    /// The value that trees hold, at their index-t.
    pub fn on_trees(trees: Arc<Trees>, schema: Schema, next_counter: u64, last_instant: Option<crate::Instant>) -> Db {
        let basis_t = trees.index_t;
        let index = Index { stats: trees.stats.clone(), trees: Some(trees), ..Index::default() };
        Db::from_base(Base { index, schema: Arc::new(schema), basis_t, next_counter, last_instant })
    }
}
