//! Pull: from entities to maps, by a pattern that says what is wanted.
//!
//! [`Pattern::parse`] reads a pattern, [`Plan::new`] fits it to a database's attributes, [`Plan::pull`] walks from an
//! entity. [`pull`] does all three. What is missing is left out; nothing matched is the empty map.

mod pattern;
mod plan;
mod transform;
mod walk;

pub use pattern::Pattern;
pub(crate) use pattern::option_names;
pub use plan::Plan;
pub(crate) use transform::transform_names;

use crate::budget::Budget;
use crate::edn::Edn;
use crate::model::EntityId;
use crate::view::Db;
use crate::{Item, Result};

/// Pulls an entity, named by id, ident or lookup ref, by a pattern. A lookup ref that names none pulls nothing.
/// Collections cut off at the default limit are noted in the budget's warnings.
pub fn pull(db: &Db, pattern: &Edn, entity: &Edn, budget: &Budget<'_>) -> Result<Item> {
    let plan = Plan::new(db, &Pattern::parse(pattern)?)?;
    let found = match entity {
        Edn::Vector(_) | Edn::List(_) => db.entity(entity)?,
        _ => Some(db.require_entity(entity)?),
    };
    match found {
        Some(e) => plan.pull(e, budget),
        None => Ok(Item::Map(Vec::new())),
    }
}

/// Pulls an entity by a pattern that was read before. For many entities, make one [`Plan`].
pub fn pull_entity(db: &Db, pattern: &Pattern, e: EntityId, budget: &Budget<'_>) -> Result<Item> {
    Plan::new(db, pattern)?.pull(e, budget)
}

#[cfg(test)]
mod tests;
