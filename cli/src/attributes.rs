//! The attributes of a database, as a client needs them: to convert text, and to complete names.

use client::{Client, View};
use db::model::ValueType;
use db::{Error, Keyword, Result};
use std::collections::BTreeMap;

/// By ident, without the colon.
#[derive(Clone, Debug, Default)]
pub struct Attributes(BTreeMap<String, Attribute>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub value_type: ValueType,
    pub many: bool,
    /// `identity` or `value`.
    pub unique: Option<String>,
    pub doc: String,
}

const ALL: &str = "[:find ?ident ?type ?cardinality :where [?a :db/valueType ?t] [?t :db/ident ?type] \
                   [?a :db/cardinality ?c] [?c :db/ident ?cardinality] [?a :db/ident ?ident]]";
const UNIQUE: &str = "[:find ?ident ?unique :where [?a :db/unique ?u] [?u :db/ident ?unique] [?a :db/ident ?ident]]";
const DOC: &str = "[:find ?ident ?doc :where [?a :db/valueType _] [?a :db/doc ?doc] [?a :db/ident ?ident]]";

impl Attributes {
    /// Those that a database has now.
    pub async fn of(client: &Client, database: &str) -> Result<Attributes> {
        let ask = |query: &str| client.query(query).database("$", View::of(database));
        let mut attributes = BTreeMap::new();
        for (ident, value_type, cardinality) in ask(ALL).rows_as::<(Keyword, Keyword, Keyword)>().await? {
            let value_type = ValueType::from_name(value_type.name())
                .ok_or_else(|| Error::unsupported("db.error/value-type", format!("{ident} has type {value_type}")))?;
            let many = cardinality.name() == "many";
            attributes
                .insert(ident.as_str().to_owned(), Attribute { value_type, many, unique: None, doc: String::new() });
        }
        for (ident, unique) in ask(UNIQUE).rows_as::<(Keyword, Keyword)>().await? {
            if let Some(attribute) = attributes.get_mut(ident.as_str()) {
                attribute.unique = Some(unique.name().to_owned());
            }
        }
        for (ident, doc) in ask(DOC).rows_as::<(Keyword, String)>().await? {
            if let Some(attribute) = attributes.get_mut(ident.as_str()) {
                attribute.doc = doc;
            }
        }
        Ok(Attributes(attributes))
    }

    pub fn get(&self, ident: &str) -> Option<&Attribute> {
        self.0.get(ident)
    }

    pub fn idents(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(ident, attribute)| (ident.as_str(), attribute))
    }
}

impl<I: Into<String>> FromIterator<(I, Attribute)> for Attributes {
    fn from_iter<A: IntoIterator<Item = (I, Attribute)>>(attributes: A) -> Attributes {
        Attributes(attributes.into_iter().map(|(ident, attribute)| (ident.into(), attribute)).collect())
    }
}
