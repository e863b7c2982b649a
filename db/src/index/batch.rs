//! Many datoms at once.
//!
//! What they come to is worked out in one pass over all of them in the order of EAVT; it goes into each tree in the
//! order of that tree, so that every node is touched once. The outcome is that of one datom after the other.

use super::novelty::{Novelty, Said};
use super::{Index, Life};
use crate::model::Datom;
use crate::schema::Schema;
use crate::{Error, Result};
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// From so many datoms on it is quicker than one by one.
const WORTH_IT: usize = 32;

/// What many datoms come to, in the order of EAVT.
#[derive(Default)]
pub(super) struct Changes {
    /// Open lives that are new, true, or are open no longer, false; none that both began and ended meanwhile.
    pub current: Vec<(Datom, bool)>,
    /// Lives that have ended, in the order in which their e, a and v stand.
    pub history: Vec<Life>,
    /// Ends of lives of the trees.
    pub ended: Vec<Datom>,
    /// What novelty grows by, as [`Novelty::bytes`] counts.
    pub bytes: usize,
}

impl Index {
    /// Takes transactions that follow each other. After an error the index is of no use any more.
    pub fn say(&mut self, schema: &Schema, transactions: &[Said]) -> Result<()> {
        if transactions.iter().map(|said| said.datoms.len()).sum::<usize>() < WORTH_IT {
            transactions.iter().try_for_each(|said| self.say_one_by_one(schema, said))?;
        } else {
            self.say_at_once(schema, transactions)?;
        }
        transactions.iter().for_each(|said| self.novelty.say(said.clone()));
        Ok(())
    }

    fn say_one_by_one(&mut self, schema: &Schema, said: &Said) -> Result<()> {
        // Retractions first: a replaced value makes room for the new one whatever order the datoms came in.
        let retracted = said.datoms.iter().filter(|datom| !datom.added());
        for datom in retracted.chain(said.datoms.iter().filter(|datom| datom.added())) {
            check_t(said, datom)?;
            let in_avet = schema.attribute(datom.a()).has_avet();
            if datom.added() {
                self.assert(datom, in_avet);
            } else if !self.retract(datom, in_avet) {
                return Err(nothing_to_end(datom));
            }
        }
        Ok(())
    }

    fn say_at_once(&mut self, schema: &Schema, transactions: &[Said]) -> Result<()> {
        let mut datoms = Vec::with_capacity(transactions.iter().map(|said| said.datoms.len()).sum());
        for said in transactions {
            said.datoms.iter().try_for_each(|datom| check_t(said, datom))?;
            datoms.extend(said.datoms.iter());
        }
        datoms.sort_unstable_by(|x, y| by_eav(x, y).then(x.t().cmp(&y.t())).then(x.added().cmp(&y.added())));
        let changes = self.changes(schema, &datoms)?;
        self.novelty.apply(changes, &|a| schema.attribute(a).has_avet());
        Ok(())
    }

    /// What sorted datoms come to. Counts them in the statistics.
    fn changes(&mut self, schema: &Schema, datoms: &[&Datom]) -> Result<Changes> {
        let facts: Vec<&[&Datom]> = datoms.chunk_by(|x, y| by_eav(x, y).is_eq()).collect();
        let open = self.novelty.open_of(&facts);
        let mut changes = Changes::default();
        for (fact, open) in facts.iter().zip(open) {
            let in_avet = schema.attribute(fact[0].a()).has_avet();
            let mut life = open.clone();
            let mut has_ended = false;
            for datom in *fact {
                if datom.added() {
                    changes.bytes += Novelty::row_bytes(datom, in_avet);
                    if life.replace(Datom::clone(datom)).is_none() {
                        self.stats.add(datom.a(), &datom.v);
                    }
                    continue;
                }
                match life.take() {
                    Some(datom_) => changes.history.push(Life { datom: datom_, to: datom.t() }),
                    // It began before novelty; trees have it once at most.
                    None if self.trees.is_some() && !has_ended && !self.novelty.has_ended(datom) => {
                        has_ended = true;
                        changes.bytes += Novelty::row_bytes(datom, in_avet);
                        changes.ended.push(Datom::clone(datom));
                    }
                    None => return Err(nothing_to_end(datom)),
                }
                self.stats.remove(datom.a());
            }
            match (open, life) {
                (_, Some(life)) => changes.current.push((life, true)),
                (Some(ended), None) => changes.current.push((ended, false)),
                (None, None) => {}
            }
        }
        Ok(changes)
    }
}

fn by_eav(x: &Datom, y: &Datom) -> Ordering {
    x.e.cmp(&y.e).then(x.a().cmp(&y.a())).then_with(|| x.v.cmp(&y.v))
}

fn check_t(said: &Said, datom: &Datom) -> Result<()> {
    if datom.t() == said.t {
        return Ok(());
    }
    Err(Error::corrupt("db.error/gap", format!("{datom:?} does not belong to t {}", said.t)))
}

fn nothing_to_end(datom: &Datom) -> Error {
    let message = format!("t {} retracts {datom:?}, which is not in the database at t {}", datom.t(), datom.t() - 1);
    Error::corrupt("db.error/replay", message)
}

impl Novelty {
    /// Of each fact, in order, the life that is open in novelty.
    fn open_of(&self, facts: &[&[&Datom]]) -> Vec<Option<Datom>> {
        let mut open = vec![None; facts.len()];
        let _ = self.each_of_facts(facts, &mut |at, datom: &Datom| {
            open[at] = Some(datom.clone());
            ControlFlow::Continue(())
        });
        open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::segment::MemorySegments;
    use crate::index::{Cursor, Roots, Sort, Stats, Trees};
    use crate::model::{EntityId, Instant, Partition, Value};
    use crate::schema::ids;
    use crate::view::Db;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    type Fact = (u64, usize, u64);

    fn datom(schema: &Schema, (e, a, v): Fact, t: u64, added: bool) -> Datom {
        let user = |counter| EntityId::new(Partition::User, counter);
        // Of one sort, of AVET too, of VAET too.
        let (a, v) = match a {
            0 => (ids::DOC, Value::string(format!("doc {v}"))),
            1 => (ids::IDENT, Value::keyword(format!("k{v}"))),
            _ => (ids::VALUE_TYPE, Value::Ref(user(v))),
        };
        Datom::new(user(2000 + e), schema.attr_of_entity(a).unwrap(), v, t, added)
    }

    /// Transactions that begin and end facts; those with an even value are open in trees, if there are any.
    fn log(schema: &Schema, steps: &[BTreeSet<Fact>], has_trees: bool) -> Vec<Said> {
        let mut open = BTreeSet::new();
        if has_trees {
            open.extend(in_trees());
        }
        let mut said = Vec::new();
        for (i, facts) in steps.iter().enumerate() {
            let t = i as u64 + 1;
            let mut toggle = |fact: &Fact| {
                let is_open = open.remove(fact);
                if !is_open {
                    open.insert(*fact);
                }
                datom(schema, *fact, t, !is_open)
            };
            let datoms: Vec<Datom> = facts.iter().map(&mut toggle).collect();
            said.push(Said { t, instant: Instant(t as i64), datoms: datoms.into() });
        }
        said
    }

    fn in_trees() -> impl Iterator<Item = Fact> {
        (0..40).flat_map(|e| (0..3).flat_map(move |a| (0..3).map(move |v| (e, a, v * 2))))
    }

    fn index(has_trees: bool) -> Index {
        let (open, closed, stats) = (Roots::default(), Roots::default(), Stats::default());
        let trees = Trees { index_t: 0, open, closed, stats, source: Arc::new(MemorySegments::default()) };
        let mut index = Index { trees: has_trees.then(|| Arc::new(trees)), ..Index::default() };
        if has_trees {
            in_trees().for_each(|fact| {
                let datom = datom(Db::bootstrap().schema(), fact, 0, true);
                index.stats.add(datom.a(), &datom.v);
            });
        }
        index
    }

    /// All that novelty holds, in every sort, and what is counted of it.
    fn shown(index: &Index) -> String {
        let Novelty { current, history, ended, .. } = &index.novelty;
        let mut shown = format!("{} bytes, {:?}\n", index.novelty.bytes(), index.stats);
        for sort in Sort::ALL {
            let rows = (rows(current.run(sort)), rows(history.run(sort)), rows(ended.run(sort)));
            shown += &format!("{sort:?} {rows:?}\n");
        }
        shown
    }

    fn rows<R: Clone>(run: crate::index::run::InMemory<'_, R>) -> Vec<R> {
        let mut cursor = Cursor::new(run, |_: &R| Ordering::Equal, false).unwrap();
        let mut rows = Vec::new();
        while !cursor.rows().is_empty() {
            let count = cursor.rows().len();
            rows.extend_from_slice(cursor.rows());
            cursor.skip(count).unwrap();
        }
        rows
    }

    proptest! {
        #[test]
        fn at_once_is_one_by_one(
            steps in proptest::collection::vec(
                proptest::collection::btree_set((0u64..40, 0usize..3, 0u64..6), 0..30), 1..40),
            cuts in proptest::collection::vec(1usize..20, 40),
            has_trees in any::<bool>(),
        ) {
            let db = Db::bootstrap();
            let schema = db.schema();
            let said = log(schema, &steps, has_trees);
            let (mut one_by_one, mut at_once) = (index(has_trees), index(has_trees));
            let mut rest = &said[..];
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                for said in now {
                    one_by_one.say_one_by_one(schema, said).unwrap();
                }
                at_once.say_at_once(schema, now).unwrap();
                prop_assert_eq!(shown(&at_once), shown(&one_by_one));
                rest = later;
            }
            // What is open nowhere cannot be ended, nor can anything be ended twice.
            let last = said.iter().flat_map(|said| said.datoms.iter()).rfind(|datom| !datom.added());
            if let Some(ended) = last.filter(|datom| at_once.novelty.open_of(&[&[*datom]]) == [None]) {
                let t = said.len() as u64 + 1;
                let again = Datom::new(ended.e, ended.a(), ended.v.clone(), t, false);
                let is_new = has_trees && !one_by_one.novelty.has_ended(ended);
                let said = Said { t, instant: Instant(0), datoms: [again].into() };
                let errors = [at_once.say_at_once(schema, std::slice::from_ref(&said)), one_by_one.say_one_by_one(schema, &said)];
                prop_assert_eq!(errors.map(|outcome| outcome.is_ok()), [is_new, is_new]);
            }
        }
    }
}
