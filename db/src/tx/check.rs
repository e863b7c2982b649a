//! What a transaction comes to: conflicts refused, redundancy removed, replaced values retracted, uniqueness kept.

use super::number::Numbered;
use super::problems::Problems;
use crate::edn::Edn;
use crate::model::{AttrId, Datom, EntityId, T, Value};
use crate::schema::Unique;
use crate::text::{brief, detail};
use crate::view::{Db, Fact};
use crate::{Error, Result};
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// From everything that was said to the datoms that change something, in the order of entity, attribute,
/// retractions first, value.
///
/// Conflicts are found on everything that was said; whether it changes anything is asked afterwards.
pub(super) fn effective(db: &Db, numbered: &Numbered<'_>, mut said: Vec<Datom>, t: T) -> Result<Vec<Datom>> {
    said.sort_unstable_by(order_said);
    said.dedup();
    refuse_conflicts(db, numbered, &said)?;

    let mut held = held(db, numbered, &said)?.into_iter();
    let mut effective = Vec::with_capacity(said.len());
    let mut rest = said.into_iter().peekable();
    let mut added = Vec::new();
    while let Some(first) = rest.next() {
        let (e, a) = (first.e, first.a());
        let is_new = numbered.is_new(e);
        let many = db.schema().attribute(a).is_many();
        let mut present = None;
        let mut replaced = false;
        let mut next = Some(first);
        while let Some(datom) = next {
            let held = held.next().flatten();
            if is_new {
                if datom.added() {
                    added.push(datom);
                }
            } else {
                // Of cardinality one the first datom of an entity and attribute brings the value.
                let holds = if many {
                    held.is_some()
                } else {
                    present = present.or(held);
                    present.as_ref() == Some(&datom.v)
                };
                match (datom.added(), holds) {
                    (true, false) => {
                        replaced |= !many;
                        added.push(datom);
                    }
                    (false, true) if many => effective.push(datom),
                    (false, true) => replaced = true,
                    // Already so.
                    (true, true) | (false, false) => {}
                }
            }
            next = rest.next_if(|datom| datom.e == e && datom.a() == a);
        }
        if replaced && let Some(v) = present {
            effective.push(Datom::new(e, a, v, t, false));
        }
        effective.append(&mut added);
    }
    Ok(effective)
}

/// For each datom said, in order, what is in force: of an attribute of cardinality one the value, with its first datom
/// only; of another the datom's own value, if it holds. Nothing of new entities.
fn held(db: &Db, numbered: &Numbered<'_>, said: &[Datom]) -> Result<Vec<Option<Value>>> {
    let mut facts = Vec::new();
    let mut places = Vec::new();
    for (place, datom) in said.iter().enumerate() {
        let (e, a) = (datom.e, datom.a());
        if numbered.is_new(e) {
            continue;
        }
        let v = db.schema().attribute(a).is_many().then_some(&datom.v);
        let is_first = place.checked_sub(1).is_none_or(|before| {
            let before = &said[before];
            before.e != e || before.a() != a || v.is_some_and(|v| before.v != *v)
        });
        if is_first {
            facts.push(Fact { e, a, v });
            places.push(place);
        }
    }
    let mut held = vec![None; said.len()];
    db.each_of_facts(&facts, |at, datom| {
        held[places[at]] = Some(datom.v.clone());
        ControlFlow::Continue(())
    })?;
    Ok(held)
}

/// By entity, attribute, value, retractions first: what contradicts stands side by side.
fn order_said(x: &Datom, y: &Datom) -> Ordering {
    x.e.cmp(&y.e).then(x.a().cmp(&y.a())).then_with(|| x.v.cmp(&y.v)).then(x.added().cmp(&y.added()))
}

/// Conflicts named in one error.
const CONFLICTS_MAX: usize = 10;

/// Refuses an addition and a retraction of one fact, and two values for one attribute of cardinality one.
fn refuse_conflicts(db: &Db, numbered: &Numbered<'_>, said: &[Datom]) -> Result<()> {
    let mut problems = Problems::default();
    let mut count = 0;
    let mut conflict = |x: &Datom, y: &Datom, why: &str| {
        problems.add(datoms_conflict(db, numbered, x, y, why));
        count += 1;
        count >= CONFLICTS_MAX
    };
    // The value last added for the entity and attribute at hand.
    let mut last_added: Option<&Datom> = None;
    for (i, datom) in said.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| &said[i]).filter(|before| before.e == datom.e && before.a() == datom.a());
        if before.is_none() {
            last_added = None;
        }
        if let Some(before) = before
            && before.v == datom.v
            && conflict(before, datom, "one fact is asserted and retracted")
        {
            break;
        }
        if datom.added() {
            if let Some(other) = last_added
                && !db.schema().attribute(datom.a()).is_many()
                && conflict(other, datom, "an attribute of cardinality one gets two values")
            {
                break;
            }
            last_added = Some(datom);
        }
    }
    problems.finish()
}

fn datoms_conflict(db: &Db, numbered: &Numbered<'_>, x: &Datom, y: &Datom, why: &str) -> Error {
    let (x, y) = (numbered.form(db, x), numbered.form(db, y));
    let message = format!("{} and {} conflict: {why}", brief(&x), brief(&y));
    Error::conflict("db.error/datoms-conflict", message).with("datoms", vec![x, y])
}

/// Refuses a second holder of a unique value, judged by the result: a value may move.
pub(super) fn refuse_duplicates(db: &Db, numbered: &Numbered<'_>, effective: &[Datom]) -> Result<()> {
    let mut claims: Vec<&Datom> =
        effective.iter().filter(|datom| datom.added() && db.schema().attribute(datom.a()).unique.is_some()).collect();
    claims.sort_unstable_by(|x, y| x.a().cmp(&y.a()).then_with(|| x.v.cmp(&y.v)).then(x.e.cmp(&y.e)));
    let mut keys: Vec<(AttrId, &Value)> = claims.iter().map(|claim| (claim.a(), &claim.v)).collect();
    keys.dedup();
    let mut holders = vec![None; keys.len()];
    db.each_of_keys(&keys, |at, datom| {
        holders[at].get_or_insert(datom.e);
        ControlFlow::Continue(())
    })?;
    let mut holders = holders.into_iter();
    let mut problems = Problems::default();
    let mut count = 0;
    for (i, claim) in claims.iter().enumerate() {
        let rival = i.checked_sub(1).map(|i| claims[i]).filter(|rival| rival.a() == claim.a() && rival.v == claim.v);
        let holder = match rival {
            Some(rival) => Some(rival.e),
            // The first to claim a key: one holder stands ready for each.
            None => {
                let holder = holders.next().flatten();
                holder.filter(|holder| *holder != claim.e && !gives_up(effective, *holder, claim))
            }
        };
        if let Some(holder) = holder {
            problems.add(unique_conflict(db, numbered, claim, holder, rival.is_some()));
            count += 1;
            if count >= CONFLICTS_MAX {
                break;
            }
        }
    }
    problems.finish()
}

/// Whether the transaction retracts the claimed value from its holder.
fn gives_up(effective: &[Datom], holder: EntityId, claim: &Datom) -> bool {
    let key = |e: EntityId, datom: &Datom, added: bool| (e, datom.a(), added);
    effective
        .binary_search_by(|datom| {
            key(datom.e, datom, datom.added()).cmp(&key(holder, claim, false)).then_with(|| datom.v.cmp(&claim.v))
        })
        .is_ok()
}

fn unique_conflict(db: &Db, numbered: &Numbered<'_>, claim: &Datom, holder: EntityId, both_claim: bool) -> Error {
    let attribute = db.schema().attribute(claim.a());
    let value = Edn::from(&claim.v);
    let (holder, claimant) = (numbered.describe(holder), numbered.describe(claim.e));
    let held = if both_claim { "is also claimed by" } else { "belongs to" };
    let remedy = match (both_claim, attribute.unique) {
        (false, Some(Unique::Identity)) => "; name a new entity by a tempid to update the one there is",
        _ => "",
    };
    let message = format!(
        "{} is unique: {} {held} {} and cannot be asserted for {}{remedy}",
        attribute.ident,
        brief(&value),
        brief(&holder),
        brief(&claimant)
    );
    let form = numbered.form(db, claim);
    Error::conflict("db.error/unique-conflict", message)
        .with("attribute", attribute.ident.clone())
        .with("value", detail(&value))
        .with("entities", vec![detail(&holder), detail(&claimant)])
        .with("datoms", vec![form])
}
