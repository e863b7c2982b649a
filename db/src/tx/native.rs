//! The transaction functions that transactors and peers know beside `:db/cas` and `:db/retractEntity`: both, since what
//! a peer says of a speculative transaction is what a transactor would do.
//!
//! * `[:fn/increment entity attribute n]` adds n to the entity's number, which is 0 where there is none.
//! * `[:fn/transfer from to attribute n]` takes n from one entity's number and gives it to the other's; refused
//!   where the first would fall below 0.
//!
//! A function is expanded on the database before the transaction: two increments of the same number by the same
//! amount in one transaction are one.

use super::Functions;
use crate::edn::Edn;
use crate::model::{Value, ValueType};
use crate::view::Db;
use crate::{Error, Result};

impl Functions {
    /// Every function that processes of this version know.
    pub fn native() -> Functions {
        let mut functions = Functions::builtin();
        register(&mut functions);
        functions
    }
}

fn register(functions: &mut Functions) {
    functions.register("fn/increment", |db: &Db, args: &[Edn], _| {
        let [entity, attribute, n] = arguments("fn/increment", "entity attribute n", args)?;
        let sum = number(db, "fn/increment", entity, attribute)?.checked_add(long("fn/increment", n)?);
        let sum = sum.ok_or_else(|| {
            let message = format!(":fn/increment of {attribute} by {n} leaves the range of a long");
            Error::incorrect("db.error/overflow", message)
        })?;
        let add = [Edn::keyword("db/add"), entity.clone(), attribute.clone(), Edn::Long(sum)];
        Ok(Edn::Vector(vec![Edn::Vector(add.to_vec())]))
    });
    functions.register("fn/transfer", |db: &Db, args: &[Edn], _| {
        let [from, to, attribute, n] = arguments("fn/transfer", "from to attribute n", args)?;
        let amount = long("fn/transfer", n)?;
        let there = number(db, "fn/transfer", from, attribute)?;
        if amount < 0 || amount > there {
            let message = format!(":fn/transfer of {n}: {from} has {there} of {attribute}; give 0 to {there}");
            return Err(Error::conflict("fn.error/insufficient", message).with("has", there));
        }
        let change = |entity: &Edn, n: i64| {
            Edn::Vector(vec![Edn::keyword("fn/increment"), entity.clone(), attribute.clone(), Edn::Long(n)])
        };
        Ok(Edn::Vector(vec![change(from, -amount), change(to, amount)]))
    });
}

fn arguments<'a, const N: usize>(function: &str, names: &str, args: &'a [Edn]) -> Result<&'a [Edn; N]> {
    args.try_into().map_err(|_| {
        let message = format!(":{function} takes {N} arguments, [:{function} {names}]; {} were given", args.len());
        Error::incorrect("db.error/wrong-number-of-arguments", message)
    })
}

fn long(function: &str, form: &Edn) -> Result<i64> {
    match form {
        Edn::Long(long) => Ok(*long),
        _ => Err(Error::incorrect(
            "db.error/wrong-type",
            format!(":{function} takes a long as its number, {form} is none"),
        )),
    }
}

/// The entity's number, 0 where there is none; an entity that is new in this transaction has none.
fn number(db: &Db, function: &str, entity: &Edn, attribute: &Edn) -> Result<i64> {
    let a = db.require_attribute(attribute)?;
    if db.schema().attribute(a).value_type != ValueType::Long || db.schema().attribute(a).is_many() {
        let message = format!(":{function} needs an attribute of one long, {attribute} is none");
        return Err(Error::incorrect("db.error/wrong-type-for-attribute", message));
    }
    if let Edn::String(_) = entity {
        return Ok(0);
    }
    Ok(match db.value(db.require_entity(entity)?, a)? {
        Some(Value::Long(long)) => long,
        _ => 0,
    })
}
