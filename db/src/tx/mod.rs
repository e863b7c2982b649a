//! Transactions: tx-data and a database value in, datoms and the next database value out.
//!
//! A transaction goes through stages, each a function of what the one before it gave:
//!
//! 1. `instant`: the transaction's instant is fixed;
//! 2. `expand`: forms become assertions and retractions, functions are called, names resolved against db-before;
//! 3. `upsert`: tempids become entities of db-before, or one new entity together;
//! 4. `number`: new entities get their ids;
//! 5. `check`: conflicts are refused on all that was said, redundancy goes, uniqueness holds on the result;
//! 6. `install`: what is said of the schema and the system is allowed;
//! 7. the datoms are applied.
//!
//! Tx-data is a set: its order decides nothing but the numbers of new entities. So a stage looks at everything before
//! it reports what is wrong. Nothing is left of a transaction that fails.

mod check;
mod expand;
mod functions;
mod install;
mod instant;
mod native;
mod number;
mod op;
mod problems;
mod tempids;
mod upsert;

pub(crate) use expand::{ADD, ID, RETRACT};
pub use functions::{Functions, TxFunction};

use crate::edn::Edn;
use crate::model::{Datom, EntityId, Instant, T, Value};
use crate::schema::ids;
use crate::view::Db;
use crate::{Error, Result};
use number::Numbered;
use op::{Entity, Op, Operand};
use std::collections::BTreeMap;

/// Bounds on one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxLimits {
    /// Bytes of one string, uri, symbol, keyword, byte array or big number.
    pub value_bytes_max: usize,
    /// Assertions and retractions after expansion.
    pub datoms_max: usize,
    /// Maps, lists and function calls after expansion.
    pub forms_max: usize,
    /// Nesting of maps and of function calls.
    pub depth_max: usize,
}

impl Default for TxLimits {
    fn default() -> Self {
        TxLimits { value_bytes_max: 1 << 20, datoms_max: 1_000_000, forms_max: 1_000_000, depth_max: 64 }
    }
}

/// What a transaction did.
#[derive(Clone, Debug)]
pub struct TxReport {
    pub db_before: Db,
    pub db_after: Db,
    pub t: T,
    pub instant: Instant,
    /// What changed, by entity, attribute, retractions first, value; `:db/txInstant` is always among them.
    pub datoms: Vec<Datom>,
    /// The caller's tempids and the entities they became.
    pub tempids: BTreeMap<String, EntityId>,
}

/// Applies tx-data to a database value. Pure: the same arguments give the same report; `with` is this call, and what
/// it returns need not be kept.
///
/// `now` is the clock's reading; the transaction's instant is never before the last one's. Errors carry a code
/// (`db.error/datoms-conflict`, `db.error/unique-conflict`, `db.error/cas-failed`, `db.error/not-an-entity`,
/// `db.error/wrong-type-for-attribute` …), the forms or datoms at fault, and under `tempids` those that resolved to
/// existing entities.
pub fn transact(db: &Db, tx_data: &Edn, now: Instant, functions: &Functions, limits: &TxLimits) -> Result<TxReport> {
    transact_as(db, tx_data, None, now, functions, limits)
}

/// The same, of a transaction that says its key: no other transaction of the database has it, and none will.
pub fn transact_as(
    db: &Db,
    tx_data: &Edn,
    key: Option<&str>,
    now: Instant,
    functions: &Functions,
    limits: &TxLimits,
) -> Result<TxReport> {
    if db.is_filtered() {
        let message = "a transaction applies to a database without views: transact first, then take as-of or since";
        return Err(Error::incorrect("db.error/filtered-database", message));
    }
    let t = db.basis_t() + 1;
    let tx = EntityId::of_tx(t);
    let forms = expand::forms(tx_data)?;
    let instant = instant::fix(forms, db.last_instant(), now)?;

    let mut found = expand::expand(db, forms, tx, instant, functions, limits)?;
    expand::check_tempids(&found)?;
    if let Some(a) = db.schema().attr_of_entity(ids::TX_INSTANT) {
        found.ops.push(Op::Add(Entity::Known(tx), a, Operand::Value(Value::Instant(instant))));
    }
    if let (Some(key), Some(a)) = (key, db.schema().attr_of_entity(ids::TX_KEY)) {
        found.ops.push(Op::Add(Entity::Known(tx), a, Operand::Value(Value::string(key))));
    }
    let mut classes = upsert::resolve(db, &found)?;
    let numbered = Numbered::new(db, &found, &mut classes, tx)?;
    let datoms = datoms(db, &numbered, t).map_err(|error| numbered.explain(error))?;
    let db_after = db.commit(t, instant, &datoms)?;
    let tempids = numbered.tempids();
    Ok(TxReport { db_before: db.clone(), db_after, t, instant, datoms, tempids })
}

/// The datoms that change something, checked.
fn datoms(db: &Db, numbered: &Numbered<'_>, t: T) -> Result<Vec<Datom>> {
    let said = numbered.datoms(db, t)?;
    let effective = check::effective(db, numbered, said, t)?;
    install::check(db, numbered, &effective)?;
    check::refuse_duplicates(db, numbered, &effective)?;
    Ok(effective)
}

#[cfg(test)]
mod tests;
