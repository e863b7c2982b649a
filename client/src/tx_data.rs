//! Tx-data put together from Rust's types.

use crate::ToEdn;
use db::edn::{Edn, check_keyword, check_symbol};
use db::{EntityId, Instant, Keyword, Result};

/// What one transaction says.
///
/// ```
/// use diachron_client::{Entity, TxData};
///
/// let tx_data = TxData::new()
///     .entity(Entity::tempid("peru"), |peru| {
///         peru.set("country/code", "PE").set("country/population", 28_674_757).set_all("country/languages", ["es", "qu"])
///     })
///     .add(Entity::lookup("country/code", "CL"), "country/borders", Entity::tempid("peru"))
///     .retract(Entity::lookup("country/code", "FR"), "country/languages", "la");
/// assert_eq!(
///     tx_data.to_edn().unwrap().to_string(),
///     "[{:db/id \"peru\", :country/code \"PE\", :country/population 28674757, :country/languages [\"es\" \"qu\"]} \
///      [:db/add [:country/code \"CL\"] :country/borders \"peru\"] \
///      [:db/retract [:country/code \"FR\"] :country/languages \"la\"]]"
/// );
/// ```
#[derive(Clone, Debug, Default)]
pub struct TxData {
    forms: Vec<Edn>,
}

/// An entity, by any of the ways to name one.
#[derive(Clone, Debug, PartialEq)]
pub enum Entity {
    Id(EntityId),
    /// A new entity, or the one that its unique attribute says; the same text is the same entity within one
    /// transaction.
    Tempid(String),
    /// `:db/ident`
    Ident(Keyword),
    /// A unique attribute and its value.
    Lookup(Keyword, Edn),
    /// The transaction itself.
    Tx,
}

/// What is said about one entity.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    entries: Vec<(Edn, Edn)>,
}

/// What can be committed: [`TxData`], or text that is one vector of tx-data.
pub trait ToTxData {
    fn to_tx_data(self) -> Result<String>;
}

impl TxData {
    pub fn new() -> TxData {
        TxData::default()
    }

    /// Says something about an entity.
    pub fn add(self, entity: impl Into<Entity>, attribute: &str, value: impl ToEdn) -> TxData {
        self.list("db/add", entity, attribute, Some(value.to_edn()))
    }

    /// Takes a value back.
    pub fn retract(self, entity: impl Into<Entity>, attribute: &str, value: impl ToEdn) -> TxData {
        self.list("db/retract", entity, attribute, Some(value.to_edn()))
    }

    /// Takes all values of an attribute back.
    pub fn retract_all(self, entity: impl Into<Entity>, attribute: &str) -> TxData {
        self.list("db/retract", entity, attribute, None)
    }

    /// Takes back all that is said about an entity, its components, and every reference to it.
    pub fn retract_entity(self, entity: impl Into<Entity>) -> TxData {
        self.form(Edn::Vector(vec![Edn::keyword("db/retractEntity"), entity.into().to_edn()]))
    }

    /// Says `new` if the value is `old`, and refuses the transaction otherwise; None stands for no value.
    pub fn cas<V: ToEdn>(self, entity: impl Into<Entity>, attribute: &str, old: Option<V>, new: V) -> TxData {
        let old = old.map_or(Edn::Nil, |old| old.to_edn());
        let form = vec![Edn::keyword("db/cas"), entity.into().to_edn(), named(attribute), old, new.to_edn()];
        self.form(Edn::Vector(form))
    }

    /// Calls a transaction function: `.call("fn/increment", (entity, Keyword::new("account/balance"), 5))`.
    pub fn call(self, function: &str, arguments: impl ToEdn) -> TxData {
        let mut form = vec![named(function)];
        match arguments.to_edn() {
            Edn::Vector(arguments) => form.extend(arguments),
            other => form.push(other),
        }
        self.form(Edn::Vector(form))
    }

    /// Says several things about one entity.
    pub fn entity(self, entity: impl Into<Entity>, say: impl FnOnce(Facts) -> Facts) -> TxData {
        let entries = vec![(Edn::keyword("db/id"), entity.into().to_edn())];
        self.form(Edn::Map(say(Facts { entries }).entries))
    }

    /// Says several things about a new entity, or about the one that a unique attribute among them names.
    pub fn map(self, say: impl FnOnce(Facts) -> Facts) -> TxData {
        self.form(Edn::Map(say(Facts::default()).entries))
    }

    /// Dates the transaction: not before the last one, and not in the future.
    pub fn at(self, instant: Instant) -> TxData {
        self.add(Entity::Tx, "db/txInstant", instant)
    }

    /// A form as it is.
    pub fn form(mut self, form: Edn) -> TxData {
        self.forms.push(form);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// How many forms there are.
    pub fn len(&self) -> usize {
        self.forms.len()
    }

    /// One vector of tx-data; an error when the name of an attribute, an ident or a function cannot be one.
    pub fn to_edn(&self) -> Result<Edn> {
        self.forms.iter().try_for_each(check_names)?;
        Ok(Edn::Vector(self.forms.clone()))
    }

    fn list(self, what: &str, entity: impl Into<Entity>, attribute: &str, value: Option<Edn>) -> TxData {
        let mut form = vec![Edn::keyword(what), entity.into().to_edn(), named(attribute)];
        form.extend(value);
        self.form(Edn::Vector(form))
    }
}

impl Facts {
    pub fn set(mut self, attribute: &str, value: impl ToEdn) -> Facts {
        self.entries.push((named(attribute), value.to_edn()));
        self
    }

    /// Several values of an attribute of cardinality many.
    pub fn set_all<V: ToEdn>(self, attribute: &str, values: impl IntoIterator<Item = V>) -> Facts {
        let values: Vec<Edn> = values.into_iter().map(|value| value.to_edn()).collect();
        self.set(attribute, values)
    }

    /// Sets a value where there is one.
    pub fn set_some<V: ToEdn>(self, attribute: &str, value: Option<V>) -> Facts {
        match value {
            Some(value) => self.set(attribute, value),
            None => self,
        }
    }

    /// A reference to an entity that is described here; it needs a component attribute or a unique attribute of its
    /// own.
    pub fn nest(mut self, attribute: &str, say: impl FnOnce(Facts) -> Facts) -> Facts {
        self.entries.push((named(attribute), Edn::Map(say(Facts::default()).entries)));
        self
    }
}

/// The keyword of a name, with or without its colon.
fn named(name: &str) -> Edn {
    Edn::keyword(name.strip_prefix(':').unwrap_or(name))
}

/// A keyword may be made of any text, but one that the reader would not read changes the forms around it.
pub(crate) fn check_names(form: &Edn) -> Result<()> {
    match form {
        Edn::Keyword(keyword) => check_keyword(keyword.as_str()).map(drop),
        Edn::Symbol(symbol) => check_symbol(symbol.as_str()).map(drop),
        Edn::List(forms) | Edn::Vector(forms) | Edn::Set(forms) => forms.iter().try_for_each(check_names),
        Edn::Map(entries) => entries.iter().try_for_each(|(key, value)| {
            check_names(key)?;
            check_names(value)
        }),
        Edn::Tagged(_, form) => check_names(form),
        _ => Ok(()),
    }
}

impl Entity {
    pub fn tempid(name: impl Into<String>) -> Entity {
        Entity::Tempid(name.into())
    }

    pub fn ident(name: &str) -> Entity {
        Entity::Ident(Keyword::new(name.strip_prefix(':').unwrap_or(name)))
    }

    pub fn lookup(attribute: &str, value: impl ToEdn) -> Entity {
        Entity::Lookup(Keyword::new(attribute.strip_prefix(':').unwrap_or(attribute)), value.to_edn())
    }
}

impl ToEdn for Entity {
    fn to_edn(&self) -> Edn {
        match self {
            Entity::Id(id) => Edn::Long(id.as_long()),
            Entity::Tempid(name) => Edn::string(name),
            Entity::Ident(ident) => Edn::Keyword(ident.clone()),
            Entity::Lookup(attribute, value) => Edn::Vector(vec![Edn::Keyword(attribute.clone()), value.clone()]),
            Entity::Tx => Edn::string("datomic.tx"),
        }
    }
}

impl From<EntityId> for Entity {
    fn from(id: EntityId) -> Entity {
        Entity::Id(id)
    }
}

impl From<Keyword> for Entity {
    fn from(ident: Keyword) -> Entity {
        Entity::Ident(ident)
    }
}

impl ToTxData for TxData {
    fn to_tx_data(self) -> Result<String> {
        Ok(self.to_edn()?.to_string())
    }
}

impl ToTxData for &TxData {
    fn to_tx_data(self) -> Result<String> {
        Ok(self.to_edn()?.to_string())
    }
}

impl ToTxData for &str {
    fn to_tx_data(self) -> Result<String> {
        Ok(self.to_owned())
    }
}

impl ToTxData for &String {
    fn to_tx_data(self) -> Result<String> {
        Ok(self.clone())
    }
}

impl ToTxData for String {
    fn to_tx_data(self) -> Result<String> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tx_data: TxData) -> String {
        tx_data.to_tx_data().unwrap()
    }

    #[test]
    fn every_form_is_written_as_it_is_read() {
        let france = Entity::lookup(":country/code", "FR");
        assert_eq!(
            text(TxData::new().cas(france.clone(), "country/population", None, 1).cas(
                france.clone(),
                "a/b",
                Some(1),
                2
            )),
            "[[:db/cas [:country/code \"FR\"] :country/population nil 1] [:db/cas [:country/code \"FR\"] :a/b 1 2]]"
        );
        assert_eq!(
            text(TxData::new().retract_all(EntityId::of_tx(1), "a/b").retract_entity(Entity::ident("x/y"))),
            "[[:db/retract 13194139533313 :a/b] [:db/retractEntity :x/y]]"
        );
        assert_eq!(
            text(TxData::new().call("fn/increment", (france, Keyword::new("a/b"), 5)).at(Instant(0))),
            "[[:fn/increment [:country/code \"FR\"] :a/b 5] \
             [:db/add \"datomic.tx\" :db/txInstant #inst \"1970-01-01T00:00:00.000Z\"]]"
        );
        let nested =
            TxData::new().map(|m| m.set("a/b", 1).set_some("a/c", None::<i64>).nest("a/d", |n| n.set("a/e", "x")));
        assert_eq!(text(nested), "[{:a/b 1, :a/d {:a/e \"x\"}}]");
    }

    #[test]
    fn a_name_that_would_break_out_of_its_form_is_refused() {
        for name in ["a/b 1] [:db/add", "", "a b", "a/b/c"] {
            let error = TxData::new().add(Entity::tempid("x"), name, 1).to_tx_data().unwrap_err();
            assert_eq!(error.category(), db::Category::Incorrect, "{name}");
            assert!(TxData::new().retract_entity(Entity::ident(name)).to_edn().is_err(), "{name}");
            let nested = TxData::new().map(|m| m.nest("a/b", |n| n.set(name, 1)));
            assert!(nested.to_tx_data().is_err(), "{name}");
        }
    }
}
