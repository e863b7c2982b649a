//! What queries and pulls return: values, and collections of them.

use crate::edn::Edn;
use crate::model::Value;

/// An element of an answer. Maps keep the order in which the pattern or the query named their keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    Nil,
    Value(Value),
    Vector(Vec<Item>),
    Set(Vec<Item>),
    Map(Vec<(Item, Item)>),
}

impl From<Value> for Item {
    fn from(value: Value) -> Item {
        Item::Value(value)
    }
}

impl From<&Item> for Edn {
    fn from(item: &Item) -> Edn {
        match item {
            Item::Nil => Edn::Nil,
            Item::Value(value) => Edn::from(value),
            Item::Vector(items) => Edn::Vector(items.iter().map(Edn::from).collect()),
            Item::Set(items) => Edn::Set(items.iter().map(Edn::from).collect()),
            Item::Map(entries) => {
                Edn::Map(entries.iter().map(|(key, value)| (Edn::from(key), Edn::from(value))).collect())
            }
        }
    }
}
