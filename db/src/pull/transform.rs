//! `:xform`: a built-in function over what an attribute gave.
//!
//! Functions of one value are those of queries, applied to each value of a collection; functions of collections take
//! it as a whole. Nothing else can be named: a pattern runs no code of its caller's.

use crate::budget::Budget;
use crate::edn::Edn;
use crate::model::Value;
use crate::query::functions::{Env, Op, Pure, find};
use crate::text::{brief, near_names};
use crate::{Error, Item, Result};

/// Functions of one value.
const OF_VALUES: [&str; 22] = [
    "identity",
    "str",
    "name",
    "namespace",
    "keyword",
    "upper-case",
    "lower-case",
    "capitalize",
    "trim",
    "triml",
    "trimr",
    "blank?",
    "inc",
    "dec",
    "abs",
    "long",
    "double",
    "even?",
    "odd?",
    "zero?",
    "pos?",
    "not",
];

/// Functions of a collection; `count` and `empty?` take a string as well.
const OF_COLLECTIONS: [&str; 8] = ["count", "empty?", "first", "last", "sort", "reverse", "set", "vector"];

/// What `:xform` takes.
pub(crate) fn transform_names() -> impl Iterator<Item = &'static str> {
    OF_VALUES.into_iter().chain(OF_COLLECTIONS)
}

/// A named function, found when the pattern is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transform {
    name: &'static str,
    /// As queries have it; None for what only collections have.
    of_value: Option<Pure>,
    of_collection: bool,
}

impl Transform {
    pub(super) fn parse(within: &Edn, form: &Edn) -> Result<Transform> {
        let Edn::Symbol(symbol) = form else {
            let message = format!("{}: :xform takes the name of a function, such as upper-case", brief(within));
            return Err(Error::incorrect("db.error/invalid-pull-pattern", message));
        };
        let name = symbol.as_str();
        let plain = name.strip_prefix("clojure.core/").or_else(|| name.strip_prefix("clojure.string/")).unwrap_or(name);
        let named = |names: &[&'static str]| names.iter().find(|other| **other == plain).copied();
        let (name, of_collection) = match (named(&OF_VALUES), named(&OF_COLLECTIONS)) {
            (Some(name), _) => (name, false),
            (_, Some(name)) => (name, true),
            _ => {
                let near = near_names(plain, transform_names());
                let all: Vec<&str> = transform_names().collect();
                let message = format!("{}: :xform knows no {name}{near}; it takes {}", brief(within), all.join(" "));
                return Err(Error::incorrect("db.error/unknown-function", message));
            }
        };
        let of_value = match find(name).map(|function| &function.op) {
            Ok(Op::Pure(f)) if !of_collection || matches!(name, "count" | "empty?") => Some(*f),
            _ => None,
        };
        Ok(Transform { name, of_value, of_collection })
    }

    /// What becomes of what an attribute gave.
    pub(super) fn apply(&self, item: Item, budget: &Budget<'_>) -> Result<Item> {
        match item {
            _ if self.name == "identity" => Ok(item),
            _ if self.name == "vector" => Ok(Item::Vector(vec![item])),
            Item::Vector(items) if self.of_collection => self.of_items(items),
            Item::Vector(items) => {
                items.into_iter().map(|item| self.apply(item, budget)).collect::<Result<_>>().map(Item::Vector)
            }
            Item::Map(entries) if self.name == "count" => Ok(Item::Value(Value::Long(entries.len() as i64))),
            Item::Value(value) => match self.of_value {
                Some(f) => {
                    let made = f(&Env::new(budget), &[Some(value)])?;
                    budget.hold(made.as_ref().map_or(0, Value::heap_bytes))?;
                    Ok(made.map_or(Item::Nil, Item::Value))
                }
                None => Err(self.wrong_type(&Item::Value(value))),
            },
            other => Err(self.wrong_type(&other)),
        }
    }

    fn of_items(&self, mut items: Vec<Item>) -> Result<Item> {
        Ok(match self.name {
            "count" => Item::Value(Value::Long(items.len() as i64)),
            "empty?" => Item::Value(Value::Boolean(items.is_empty())),
            "first" => items.into_iter().next().unwrap_or(Item::Nil),
            "last" => items.pop().unwrap_or(Item::Nil),
            "sort" => {
                items.sort();
                Item::Vector(items)
            }
            "reverse" => {
                items.reverse();
                Item::Vector(items)
            }
            _ => {
                items.sort();
                items.dedup();
                Item::Set(items)
            }
        })
    }

    fn wrong_type(&self, item: &Item) -> Error {
        let expected = if self.of_collection { "a collection" } else { "values" };
        let message = format!("{} takes {expected}, not {}", self.name, brief(&Edn::from(item)));
        Error::incorrect("db.error/wrong-type-for-function", message)
    }
}
