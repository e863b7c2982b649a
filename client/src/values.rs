//! Rust's own types for values: out of answers ([`FromItem`], [`FromRow`]) and into queries and tx-data ([`ToEdn`]).

use db::edn::Edn;
use db::{EntityId, Error, Instant, Item, Keyword, Result, Symbol, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What can be made of an element of an answer.
///
/// | type | what it takes |
/// | --- | --- |
/// | `i64`, `i32`, `u32`, `u64` | a long that fits |
/// | `f64` | a double, a float, a long |
/// | `bool`, `String`, [`Keyword`], [`Symbol`], [`Instant`] | its like; a `String` a uri too |
/// | [`EntityId`] | a reference, an entity id |
/// | `[u8; 16]` | a uuid |
/// | [`Value`], [`Item`] | whatever is there |
/// | `Option<A>` | nil as `None` |
/// | `Vec<A>`, `BTreeSet<A>`, `BTreeMap<K, A>` | a collection, a tuple; a map |
pub trait FromItem: Sized {
    /// What is wanted, for an error: `a long`.
    const WANTED: &'static str;

    /// None when the item is something else.
    fn from_item(item: Item) -> Option<Self>;
}

/// What can be made of a row: a tuple with an element for each column, or a `Vec<Item>`.
///
/// ```
/// use db::{Item, Value};
/// use diachron_client::FromRow;
///
/// let row = vec![Item::Value(Value::string("Peru")), Item::Value(Value::Long(28))];
/// let (name, millions) = <(String, i64)>::from_row(row).unwrap();
/// assert_eq!((name.as_str(), millions), ("Peru", 28));
/// ```
pub trait FromRow: Sized {
    fn from_row(row: Vec<Item>) -> Result<Self>;
}

/// What can stand in tx-data, and among a query's inputs: a scalar, a collection, a tuple.
pub trait ToEdn {
    fn to_edn(&self) -> Edn;
}

macro_rules! from_values {
    ($($type:ty, $wanted:literal, $($pattern:pat => $value:expr),+;)+) => {$(
        impl FromItem for $type {
            const WANTED: &'static str = $wanted;

            fn from_item(item: Item) -> Option<Self> {
                match item {
                    $(Item::Value($pattern) => $value,)+
                    _ => None,
                }
            }
        }
    )+};
}

from_values! {
    i64, "a long", Value::Long(x) => Some(x);
    i32, "a long of 32 bits", Value::Long(x) => x.try_into().ok();
    u32, "a long of 32 bits, not negative", Value::Long(x) => x.try_into().ok();
    u64, "a long that is not negative", Value::Long(x) => x.try_into().ok();
    f64, "a number", Value::Double(x) => Some(x), Value::Float(x) => Some(x.into()), Value::Long(x) => Some(x as f64);
    bool, "a boolean", Value::Boolean(x) => Some(x);
    String, "a string", Value::String(x) => Some(x.to_string()), Value::Uri(x) => Some(x.to_string());
    Keyword, "a keyword", Value::Keyword(x) => Some(x);
    Symbol, "a symbol", Value::Symbol(x) => Some(x);
    Instant, "an instant", Value::Instant(x) => Some(x);
    EntityId, "an entity id", Value::Ref(x) => Some(x), Value::Long(x) => EntityId::from_long(x);
    [u8; 16], "a uuid", Value::Uuid(x) => Some(*x);
    Value, "a value", x => Some(x);
}

impl FromItem for Item {
    const WANTED: &'static str = "anything";

    fn from_item(item: Item) -> Option<Self> {
        Some(item)
    }
}

impl<A: FromItem> FromItem for Option<A> {
    const WANTED: &'static str = A::WANTED;

    fn from_item(item: Item) -> Option<Self> {
        match item {
            Item::Nil => Some(None),
            item => A::from_item(item).map(Some),
        }
    }
}

impl<A: FromItem> FromItem for Vec<A> {
    const WANTED: &'static str = "a collection";

    fn from_item(item: Item) -> Option<Self> {
        match item {
            Item::Vector(items) | Item::Set(items) => items.into_iter().map(A::from_item).collect(),
            Item::Value(Value::Tuple(elements)) => {
                let element = |element: &Option<Value>| A::from_item(element.clone().map_or(Item::Nil, Item::Value));
                elements.iter().map(element).collect()
            }
            _ => None,
        }
    }
}

impl<A: FromItem + Ord> FromItem for BTreeSet<A> {
    const WANTED: &'static str = "a collection";

    fn from_item(item: Item) -> Option<Self> {
        Some(Vec::<A>::from_item(item)?.into_iter().collect())
    }
}

impl<K: FromItem + Ord, A: FromItem> FromItem for BTreeMap<K, A> {
    const WANTED: &'static str = "a map";

    fn from_item(item: Item) -> Option<Self> {
        let Item::Map(entries) = item else { return None };
        entries.into_iter().map(|(key, item)| Some((K::from_item(key)?, A::from_item(item)?))).collect()
    }
}

/// An item as a type, or an error that says what is there instead.
pub(crate) fn convert<A: FromItem>(item: Item) -> Result<A> {
    let text = Edn::from(&item).to_string();
    A::from_item(item).ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        Error::incorrect("db.error/wrong-type", format!("{} is wanted, but here is {shown}", A::WANTED))
    })
}

impl FromRow for Vec<Item> {
    fn from_row(row: Vec<Item>) -> Result<Self> {
        Ok(row)
    }
}

macro_rules! rows_of {
    ($count:literal, $($type:ident),+) => {
        impl<$($type: FromItem),+> FromRow for ($($type,)+) {
            fn from_row(row: Vec<Item>) -> Result<Self> {
                let columns = row.len();
                let Ok::<[Item; $count], _>(row) = row.try_into() else {
                    let message = format!("the row has {columns} columns, but {} are wanted", $count);
                    return Err(Error::incorrect("db.error/wrong-type", message));
                };
                let mut items = row.into_iter().enumerate();
                Ok(($({
                    // As many as the array has.
                    let (at, item) = items.next().unwrap_or((0, Item::Nil));
                    convert::<$type>(item).map_err(|error| error.within(format!("column {}", at + 1)))?
                },)+))
            }
        }
    };
}

rows_of!(1, A);
rows_of!(2, A, B);
rows_of!(3, A, B, C);
rows_of!(4, A, B, C, D);
rows_of!(5, A, B, C, D, E);
rows_of!(6, A, B, C, D, E, F);
rows_of!(7, A, B, C, D, E, F, G);
rows_of!(8, A, B, C, D, E, F, G, H);

macro_rules! to_edn {
    ($($type:ty, $value:ident => $form:expr;)+) => {$(
        impl ToEdn for $type {
            fn to_edn(&self) -> Edn {
                let $value = self;
                $form
            }
        }
    )+};
}

to_edn! {
    Edn, x => x.clone();
    bool, x => Edn::Bool(*x);
    i64, x => Edn::Long(*x);
    i32, x => Edn::Long((*x).into());
    u32, x => Edn::Long((*x).into());
    f64, x => Edn::Double(*x);
    str, x => Edn::string(x);
    String, x => Edn::string(x);
    Keyword, x => Edn::Keyword(x.clone());
    Symbol, x => Edn::Symbol(x.clone());
    Instant, x => Edn::Inst(*x);
    EntityId, x => Edn::Long(x.as_long());
    [u8; 16], x => Edn::Uuid(*x);
    Value, x => Edn::from(x);
    Item, x => Edn::from(x);
}

impl<A: ToEdn + ?Sized> ToEdn for &A {
    fn to_edn(&self) -> Edn {
        (**self).to_edn()
    }
}

impl<A: ToEdn> ToEdn for [A] {
    fn to_edn(&self) -> Edn {
        Edn::Vector(self.iter().map(ToEdn::to_edn).collect())
    }
}

impl<A: ToEdn, const N: usize> ToEdn for [A; N] {
    fn to_edn(&self) -> Edn {
        self[..].to_edn()
    }
}

impl<A: ToEdn> ToEdn for Vec<A> {
    fn to_edn(&self) -> Edn {
        self[..].to_edn()
    }
}

impl<A: ToEdn> ToEdn for BTreeSet<A> {
    fn to_edn(&self) -> Edn {
        Edn::Vector(self.iter().map(ToEdn::to_edn).collect())
    }
}

macro_rules! tuples_to_edn {
    ($($type:ident $at:tt),+) => {
        impl<$($type: ToEdn),+> ToEdn for ($($type,)+) {
            fn to_edn(&self) -> Edn {
                Edn::Vector(vec![$(self.$at.to_edn()),+])
            }
        }
    };
}

tuples_to_edn!(A 0);
tuples_to_edn!(A 0, B 1);
tuples_to_edn!(A 0, B 1, C 2);
tuples_to_edn!(A 0, B 1, C 2, D 3);
tuples_to_edn!(A 0, B 1, C 2, D 3, E 4);
tuples_to_edn!(A 0, B 1, C 2, D 3, E 4, F 5);

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: Value) -> Item {
        Item::Value(value)
    }

    #[test]
    fn rows_become_tuples_of_rusts_own_types() {
        let row = vec![item(Value::string("Peru")), Item::Nil, item(Value::Long(3)), item(Value::keyword("a/b"))];
        let typed = <(String, Option<i64>, f64, Keyword)>::from_row(row).unwrap();
        assert_eq!(typed, ("Peru".to_owned(), None, 3.0, Keyword::new("a/b")));
        let set = Item::Set(vec![item(Value::Long(1)), item(Value::Long(2))]);
        let map = Item::Map(vec![(item(Value::keyword("n")), set)]);
        let (map,) = <(BTreeMap<Keyword, Vec<u32>>,)>::from_row(vec![map]).unwrap();
        assert_eq!(map[&Keyword::new("n")], [1, 2]);
    }

    #[test]
    fn a_row_of_another_type_says_where_and_what_it_is() {
        let message = |row| <(String, i32)>::from_row(row).unwrap_err().message().to_owned();
        let long = |n| item(Value::Long(n));
        assert_eq!(message(vec![long(1), long(2)]), "column 1: a string is wanted, but here is 1");
        assert_eq!(
            message(vec![item(Value::string("x")), long(1 << 40)]),
            "column 2: a long of 32 bits is wanted, but here is 1099511627776"
        );
        assert_eq!(message(vec![Item::Nil]), "the row has 1 columns, but 2 are wanted");
    }

    #[test]
    fn inputs_become_edn_that_the_reader_reads() {
        let text = |form: &dyn ToEdn| {
            let form = form.to_edn();
            assert_eq!(db::edn::read(&form.to_string()).unwrap(), form);
            form.to_string()
        };
        assert_eq!(text(&("a \"b\"", 1, true)), "[\"a \\\"b\\\"\" 1 true]");
        assert_eq!(text(&vec![Keyword::new("a/b")]), "[:a/b]");
        assert_eq!(text(&[("x", 1.0), ("y", 2.5)].as_slice()), "[[\"x\" 1.0] [\"y\" 2.5]]");
        assert_eq!(text(&EntityId::of_tx(1)), "13194139533313");
        assert_eq!(text(&Instant(0)), "#inst \"1970-01-01T00:00:00.000Z\"");
    }
}
