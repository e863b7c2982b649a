//! [`Db`]: what it holds, how it grows by a transaction, and its views.

use super::Pattern;
use crate::edn::Edn;
use crate::index::{AttrStats, Index, Said};
use crate::model::{AttrId, Datom, EntityId, Instant, Partition, T, Value};
use crate::schema::{FIRST_USER_COUNTER, Schema, bootstrap_datoms, ids};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, LazyLock};

/// An immutable database at a moment, cheap to clone and to share.
///
/// `as_of`, `since` and `history` give values of the same type: the same facts seen through another window. Views
/// narrow and compose; the schema is always today's.
#[derive(Clone)]
pub struct Db {
    pub(super) base: Arc<Base>,
    pub(super) view: View,
}

/// The value below any view.
#[derive(Clone)]
pub(super) struct Base {
    /// Read through `view::reading`, which merges its parts.
    pub(super) index: Index,
    pub(super) schema: Arc<Schema>,
    pub(super) basis_t: T,
    pub(super) next_counter: u64,
    pub(super) last_instant: Option<Instant>,
}

/// The window a database is seen through: datoms with `since < t ≤ as_of`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) as_of: Option<T>,
    pub(super) since: Option<T>,
    pub(super) history: bool,
}

/// A moment, as users name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimePoint {
    T(T),
    /// The last transaction at or before the instant.
    Instant(Instant),
}

impl Db {
    /// The database that every database begins as, at t 0. All of them share it.
    pub fn bootstrap() -> Db {
        static BOOTSTRAP: LazyLock<Db> = LazyLock::new(|| Db::from_bootstrap(&bootstrap_datoms()));
        BOOTSTRAP.clone()
    }

    /// The database at t 0 with the datoms of its `create` record: `(e, a, v)`, attributes by their entities.
    pub fn from_bootstrap(datoms: &[(EntityId, EntityId, Value)]) -> Db {
        let mut schema = Schema::default();
        let entities: BTreeSet<EntityId> = datoms.iter().map(|(e, ..)| *e).collect();
        for e in entities {
            let fact = |a| datoms.iter().find(|datom| datom.0 == e && datom.1 == a).map(|datom| datom.2.clone());
            if let Some(attribute) = Schema::define(e, fact) {
                schema.put(attribute);
            }
        }
        let mut index = Index::default();
        for (e, a, v) in datoms {
            if let Some(a) = schema.attr_of_entity(*a) {
                index.assert(&Datom::new(*e, a, v.clone(), 0, true), schema.attribute(a).has_avet());
            }
        }
        let base =
            Base { index, schema: Arc::new(schema), basis_t: 0, next_counter: FIRST_USER_COUNTER, last_instant: None };
        Db { base: Arc::new(base), view: View::default() }
    }

    pub(super) fn from_base(base: Base) -> Db {
        Db { base: Arc::new(base), view: View::default() }
    }

    /// The value after transaction `t`, whose datoms have been checked: nothing here asks whether they are
    /// allowed. Fails where they contradict the value, which only damage or a fault of ours can bring about.
    ///
    /// The counter of new entity ids follows from the datoms. The view is dropped: a commit is to the base.
    pub fn commit(&self, t: T, instant: Instant, datoms: &[Datom]) -> Result<Db> {
        let mut after = self.unfiltered();
        after.advance(t, instant, datoms)?;
        Ok(after)
    }

    /// [`Db::commit`] to this value itself: what no other value shares is changed where it stands, so that many
    /// transactions in a row copy little. After an error the value is of no use any more.
    pub(crate) fn advance(&mut self, t: T, instant: Instant, datoms: &[Datom]) -> Result<()> {
        self.advance_all(&[Said { t, instant, datoms: datoms.into() }])
    }

    /// Many transactions at once, of which none but the last may define attributes ([`Db::defines`]).
    pub(crate) fn advance_all(&mut self, transactions: &[Said]) -> Result<()> {
        let base = Arc::make_mut(&mut self.base);
        for said in transactions {
            if said.t != base.basis_t + 1 {
                return Err(Error::corrupt("db.error/gap", format!("t {} does not follow t {}", said.t, base.basis_t)));
            }
            base.basis_t = said.t;
            base.last_instant = Some(said.instant);
        }
        base.index.say(&base.schema, transactions)?;
        let mut defined = BTreeSet::new();
        for datom in transactions.iter().flat_map(|said| said.datoms.iter()) {
            if datom.e.partition_bits() != Partition::Tx as u64 {
                base.next_counter = base.next_counter.max(datom.e.counter() + 1);
            }
            if defines(&base.schema, datom) {
                defined.insert(datom.e);
            }
        }
        self.take_definitions(&defined)
    }

    /// Whether datoms say something of attributes, so that the schema may be another one after them.
    pub(crate) fn defines(&self, datoms: &[Datom]) -> bool {
        datoms.iter().any(|datom| defines(self.schema(), datom))
    }

    /// Takes the attributes among `entities` into the schema.
    fn take_definitions(&mut self, entities: &BTreeSet<EntityId>) -> Result<()> {
        let mut changed: Option<Schema> = None;
        for e in entities {
            let facts = self.datoms(&Pattern::all().e(*e))?;
            let fact = |a| {
                let a = self.base.schema.attr_of_entity(a)?;
                facts.iter().find(|datom| datom.a() == a).map(|datom| datom.v.clone())
            };
            if let Some(attribute) = Schema::define(*e, fact) {
                let known = self.base.schema.attr_of_entity(*e).map(|a| self.base.schema.attribute(a));
                if known != Some(&attribute) {
                    changed.get_or_insert_with(|| Schema::clone(&self.base.schema)).put(attribute);
                }
            }
        }
        if let Some(schema) = changed {
            Arc::make_mut(&mut self.base).schema = Arc::new(schema);
        }
        Ok(())
    }

    /// The newest t of the value below any view.
    pub fn basis_t(&self) -> T {
        self.base.basis_t
    }

    /// The counter of the next new entity id.
    pub fn next_counter(&self) -> u64 {
        self.base.next_counter
    }

    /// The instant of the newest transaction.
    pub fn last_instant(&self) -> Option<Instant> {
        self.base.last_instant
    }

    /// Today's schema, whatever the view.
    pub fn schema(&self) -> &Schema {
        &self.base.schema
    }

    /// The facts as they were at a t, that transaction's included. [`Db::t_at`] finds the t of other moments.
    pub fn as_of(&self, t: T) -> Db {
        let as_of = Some(self.view.as_of.map_or(t, |before| before.min(t)));
        Db { base: self.base.clone(), view: View { as_of, ..self.view } }
    }

    /// Only what was said after a t.
    pub fn since(&self, t: T) -> Db {
        let since = Some(self.view.since.map_or(t, |before| before.max(t)));
        Db { base: self.base.clone(), view: View { since, ..self.view } }
    }

    /// Every datom ever said, retractions too.
    pub fn history(&self) -> Db {
        Db { base: self.base.clone(), view: View { history: true, ..self.view } }
    }

    /// The value below the view.
    pub fn unfiltered(&self) -> Db {
        Db { base: self.base.clone(), view: View::default() }
    }

    pub fn is_history(&self) -> bool {
        self.view.history
    }

    /// Whether this is seen through any view.
    pub fn is_filtered(&self) -> bool {
        self.view != View::default()
    }

    /// The t of an as-of view.
    pub fn as_of_t(&self) -> Option<T> {
        self.view.as_of
    }

    /// The t of a since view.
    pub fn since_t(&self) -> Option<T> {
        self.view.since
    }

    /// Reads a moment: a t, a transaction's entity id, or an instant.
    pub fn time_point(&self, form: &Edn) -> Result<TimePoint> {
        let long = match form {
            Edn::Inst(instant) => return Ok(TimePoint::Instant(*instant)),
            Edn::Long(long) => *long,
            _ => -1,
        };
        let Some(e) = EntityId::from_long(long) else {
            let message = format!("{form} is no moment: give a t, a transaction's entity id, or an #inst");
            return Err(Error::incorrect("db.error/invalid-time-point", message));
        };
        match (e.as_tx(), e.partition_bits()) {
            (Some(t), _) => Ok(TimePoint::T(t)),
            (None, 0) => Ok(TimePoint::T(e.counter())),
            _ => Err(Error::incorrect(
                "db.error/invalid-time-point",
                format!("{form} is an entity, but no transaction: give a t, a transaction's entity id, or an #inst"),
            )),
        }
    }

    /// The t a moment names: for an instant that of the last transaction at or before it, 0 before the first.
    pub fn t_at(&self, point: TimePoint) -> Result<T> {
        match point {
            TimePoint::T(t) => Ok(t),
            TimePoint::Instant(instant) => {
                let Some(a) = self.base.schema.attr_of_entity(ids::TX_INSTANT) else { return Ok(0) };
                let upto = Value::Instant(instant);
                let pattern = Pattern::all().a(a).between(Bound::Unbounded, Bound::Included(&upto));
                let last = self.unfiltered().last(&pattern)?;
                Ok(last.and_then(|datom| datom.e.as_tx()).unwrap_or(0))
            }
        }
    }

    /// The t of the first transaction that is not before a moment, whether there is one yet or not: for an instant, of
    /// the first one whose instant is not earlier.
    pub fn t_from(&self, point: TimePoint) -> Result<T> {
        match point {
            TimePoint::T(t) => Ok(t),
            TimePoint::Instant(Instant(ms)) => match ms.checked_sub(1) {
                Some(before) => Ok(self.t_at(TimePoint::Instant(Instant(before)))? + 1),
                None => Ok(1),
            },
        }
    }

    /// Statistics of an attribute's current values.
    pub fn stats(&self, a: AttrId) -> AttrStats {
        self.base.index.stats.of(a)
    }
}

/// Whether a datom says something of an attribute, so that the schema may be another one after it.
fn defines(schema: &Schema, datom: &Datom) -> bool {
    let is_systems = schema.attribute(datom.a()).id < EntityId::new(Partition::Db, FIRST_USER_COUNTER);
    is_systems && datom.e.partition_bits() == Partition::Db as u64
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Db at t {}", self.base.basis_t)?;
        if let Some(t) = self.view.as_of {
            write!(f, " as of {t}")?;
        }
        if let Some(t) = self.view.since {
            write!(f, " since {t}")?;
        }
        if self.view.history { f.write_str(" history") } else { Ok(()) }
    }
}
