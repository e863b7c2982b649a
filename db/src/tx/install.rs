//! What a transaction may say of the schema and of system entities.
//!
//! New attributes are installed; attributes that exist are not altered yet, apart from their documentation and
//! what users' own attributes say of them.

use super::functions::is_reserved;
use super::number::Numbered;
use super::problems::Problems;
use crate::edn::Edn;
use crate::model::{AttrId, Datom, EntityId, Keyword, Partition, Value, ValueType};
use crate::schema::{FIRST_USER_COUNTER, ids};
use crate::text::brief;
use crate::view::Db;
use crate::{Error, Result};

const FIRST_USER: EntityId = EntityId::new(Partition::Db, FIRST_USER_COUNTER);

/// Checks the datoms about attributes, names, and what belongs to the system. `effective` is sorted by entity.
pub(super) fn check(db: &Db, numbered: &Numbered<'_>, effective: &[Datom]) -> Result<()> {
    let schema = db.schema();
    let is_system = |datom: &Datom| schema.attribute(datom.a()).id < FIRST_USER;
    let mut problems = Problems::default();
    let mut installed = 0;
    for facts in effective.chunk_by(|x, y| x.e == y.e) {
        let e = facts[0].e;
        if e < FIRST_USER {
            problems.add(system_entity(db, numbered, &facts[0]));
            continue;
        }
        if !facts.iter().any(is_system) {
            continue;
        }
        let system = facts.iter().filter(|datom| is_system(datom));
        for datom in system.clone() {
            if let Err(error) = check_datom(db, numbered, datom) {
                problems.add(error);
            }
        }
        let of = |a: EntityId| {
            system.clone().find(|datom| datom.added() && schema.attribute(datom.a()).id == a).map(|datom| &datom.v)
        };
        let defines = system.clone().any(|datom| DEFINITION.contains(&schema.attribute(datom.a()).id));
        if schema.attr_of_entity(e).is_some() {
            // Alterations were refused datom by datom.
        } else if !numbered.is_new(e) || e == numbered.tx() {
            if defines {
                let message = format!(
                    "{} exists and is no attribute: an attribute is installed on a new entity, named by a tempid",
                    brief(&numbered.describe(e))
                );
                problems.add(Error::incorrect("db.error/invalid-install-attribute", message));
            }
        } else if defines {
            installed += 1;
            if let Err(error) = check_installation(db, of) {
                problems.add(error);
            }
        }
    }
    if schema.len() + installed >= AttrId::COUNT_MAX as usize {
        let message = format!("a database has fewer than {} attributes", AttrId::COUNT_MAX);
        problems.add(Error::incorrect("db.error/too-many-attributes", message));
    }
    problems.finish()
}

/// What makes an entity an attribute.
const DEFINITION: [EntityId; 5] = [ids::VALUE_TYPE, ids::CARDINALITY, ids::UNIQUE, ids::INDEX, ids::IS_COMPONENT];

fn system_entity(db: &Db, numbered: &Numbered<'_>, datom: &Datom) -> Error {
    let form = numbered.form(db, datom);
    let message = format!("{}: entity {} belongs to the system and cannot be changed", brief(&form), datom.e);
    Error::new(crate::Category::Forbidden, "db.error/system-entity", message).with("datoms", vec![form])
}

/// A datom whose attribute is the system's.
fn check_datom(db: &Db, numbered: &Numbered<'_>, datom: &Datom) -> Result<()> {
    let schema = db.schema();
    let a = schema.attribute(datom.a());
    let form = || numbered.form(db, datom);
    if a.id == ids::TX_INSTANT && datom.e != numbered.tx() {
        let message = format!("{}: :db/txInstant can be given to the transaction itself only", brief(&form()));
        return Err(Error::incorrect("db.error/reset-tx-instant", message).with("datoms", vec![form()]));
    }
    if let (ids::IDENT, true, Value::Keyword(ident)) = (a.id, datom.added(), &datom.v)
        && is_reserved(ident)
    {
        let message = format!("{ident} is in a namespace reserved for the system (db and db.…); choose another");
        return Err(Error::incorrect("db.error/reserved-ident", message).with("datoms", vec![form()]));
    }
    if let Some(known) = schema.attr_of_entity(datom.e)
        && a.id != ids::DOC
    {
        let ident = &schema.attribute(known).ident;
        if a.id == ids::VALUE_TYPE {
            let message =
                format!("{}: the value type of {ident} never changes; install another attribute", brief(&form()));
            return Err(Error::incorrect("db.error/invalid-alter-attribute", message).with("datoms", vec![form()]));
        }
        let message = format!("{}: altering an attribute, here {ident}, is not supported yet", brief(&form()));
        return Err(Error::unsupported("db.error/unsupported", message).with("datoms", vec![form()]));
    }
    Ok(())
}

/// A new attribute, by what is asserted of it.
fn check_installation<'v>(db: &Db, of: impl Fn(EntityId) -> Option<&'v Value>) -> Result<()> {
    let invalid = |message: String| Error::incorrect("db.error/invalid-install-attribute", message);
    let ident = match of(ids::IDENT) {
        Some(Value::Keyword(ident)) => Some(ident),
        _ => None,
    };
    let name = ident.map_or("a new attribute".to_string(), Keyword::to_string);
    let required =
        [(ids::IDENT, ":db/ident"), (ids::VALUE_TYPE, ":db/valueType"), (ids::CARDINALITY, ":db/cardinality")];
    let missing: Vec<&str> =
        required.into_iter().filter(|(a, _)| of(*a).is_none()).map(|(_, required)| required).collect();
    if !missing.is_empty() {
        return Err(invalid(format!("{name} cannot be installed without {}", missing.join(" and "))));
    }
    if ident.is_some_and(|ident| ident.name().starts_with('_')) {
        return Err(invalid(format!("{name} begins with an underscore, which means a reversed reference")));
    }
    let named = |a: EntityId| {
        let Some(value) = of(a) else { return Ok(None) };
        let ident = value.as_ref().map(|e| db.ident_of_entity(e)).transpose()?;
        Ok(Some((value, ident.flatten())))
    };
    let one_of = |a: EntityId, attribute: &str, namespace: &str, examples: &str| match named(a)? {
        Some((_, Some(ident))) if ident.namespace() == Some(namespace) => Ok(Some(ident)),
        Some((value, ident)) => {
            let value = ident.map_or(Edn::from(value), Edn::Keyword);
            Err(invalid(format!("{} is no {attribute} for {name}: {examples}", brief(&value))))
        }
        None => Ok(None),
    };
    let value_type =
        one_of(ids::VALUE_TYPE, ":db/valueType", "db.type", "give one of :db.type/string, :db.type/long …")?;
    one_of(ids::CARDINALITY, ":db/cardinality", "db.cardinality", "give :db.cardinality/one or :db.cardinality/many")?;
    let unique = one_of(ids::UNIQUE, ":db/unique", "db.unique", "give :db.unique/identity or :db.unique/value")?;
    let value_type = value_type.and_then(|ident| ValueType::from_name(ident.name()));
    match value_type {
        Some(ValueType::Tuple) => {
            let message = format!("{name} cannot be installed: tuples are not supported yet");
            return Err(Error::unsupported("db.error/unsupported", message));
        }
        Some(ValueType::Bytes) if unique.is_some() => {
            return Err(invalid(format!("{name} cannot be unique: values of type bytes are not")));
        }
        _ => {}
    }
    if of(ids::IS_COMPONENT) == Some(&Value::Boolean(true)) && value_type != Some(ValueType::Ref) {
        return Err(invalid(format!("{name} cannot be a component: only references are")));
    }
    Ok(())
}
