//! What the columns of a CSV file mean, as its mapping file says.
//!
//! ```text
//! mapping  = {:columns {"HEADER" column …}      required
//!             :identity "HEADER"                the column that says which entity a row is about
//!             :null "TEXT" or ["TEXT" …]        what stands for no value; [""] unless said
//!             :constants {:attribute value …}   said of every row's entity too
//!             :delimiter ";"}                   one character; `,` unless said
//! column   = :attribute
//!          | {:attribute :attribute             required
//!             :ref :attribute                   the value of this unique attribute names the entity referred to
//!             :create true                      one that is not there yet is made, with that attribute alone
//!             :separator "TEXT"                 several values in one field, for cardinality many
//!             :type :long                       how the text is read; the attribute's own type unless said
//!             :null …}                          as above, for this column
//! ```
//! What is not known is refused by name.

use crate::command::failure::Failure;
use crate::nearest::suggestion;
use db::edn::Edn;
use db::model::ValueType;
use db::{Error, Keyword, Result};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mapping {
    /// By the header's names, in the order of the file.
    pub(super) columns: Vec<(String, Column)>,
    pub(super) identity: Option<String>,
    pub(super) null: Vec<String>,
    pub(super) constants: Vec<(Keyword, Edn)>,
    pub(super) delimiter: u8,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) attribute: Keyword,
    pub(super) reference: Option<Keyword>,
    pub(super) create: bool,
    pub(super) separator: Option<String>,
    pub(super) value_type: Option<ValueType>,
    pub(super) null: Option<Vec<String>>,
}

const KEYS: [&str; 5] = ["columns", "identity", "null", "constants", "delimiter"];
const COLUMN_KEYS: [&str; 6] = ["attribute", "ref", "create", "separator", "type", "null"];

impl Mapping {
    pub(super) fn read(path: &str) -> std::result::Result<Mapping, Failure> {
        let text = crate::command::file_text(path)?;
        let mapping = db::edn::read(&text).and_then(|form| Mapping::of(&form));
        mapping.map_err(|error| Failure::Error(error.within(path)))
    }

    /// A header whose names are attributes is its own mapping.
    pub(super) fn of_header<'a>(header: impl Iterator<Item = &'a str>) -> Mapping {
        let column = |name: &str| (name.to_owned(), Column::of_attribute(Keyword::new(name.trim_start_matches(':'))));
        Mapping { columns: header.map(column).collect(), ..Mapping::default() }
    }

    fn of(form: &Edn) -> Result<Mapping> {
        let mut mapping = Mapping::default();
        for (key, value) in entries(form, "a mapping", &KEYS)? {
            match key {
                "columns" => {
                    let Edn::Map(columns) = value else { return Err(wrong(":columns", "a map", value)) };
                    for (name, column) in columns {
                        let name = string(name, "a column's name")?;
                        let column = Column::of(column).map_err(|error| error.within(format!("column `{name}`")))?;
                        mapping.columns.push((name, column));
                    }
                }
                "identity" => mapping.identity = Some(string(value, ":identity")?),
                "null" => mapping.null = strings(value)?,
                "constants" => {
                    let Edn::Map(constants) = value else { return Err(wrong(":constants", "a map", value)) };
                    for (attribute, value) in constants {
                        mapping.constants.push((keyword(attribute, "an attribute")?, value.clone()));
                    }
                }
                _ => match string(value, ":delimiter")?.as_bytes() {
                    [delimiter] => mapping.delimiter = *delimiter,
                    _ => return Err(wrong(":delimiter", "one ASCII character", value)),
                },
            }
        }
        if mapping.columns.is_empty() {
            return Err(Error::incorrect("db.error/mapping", "a mapping needs :columns, with one column at least"));
        }
        if let Some(identity) = &mapping.identity
            && mapping.column(identity).is_none()
        {
            let near = suggestion(identity, mapping.columns.iter().map(|(name, _)| name.as_str()));
            let message = format!(":identity is `{identity}`, which :columns has not{near}");
            return Err(Error::incorrect("db.error/mapping", message));
        }
        Ok(mapping)
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(other, _)| other == name).map(|(_, column)| column)
    }
}

impl Default for Mapping {
    fn default() -> Mapping {
        let null = vec![String::new()];
        Mapping { columns: Vec::new(), identity: None, null, constants: Vec::new(), delimiter: b',' }
    }
}

impl Column {
    fn of_attribute(attribute: Keyword) -> Column {
        Column { attribute, reference: None, create: false, separator: None, value_type: None, null: None }
    }

    fn of(form: &Edn) -> Result<Column> {
        if let Edn::Keyword(attribute) = form {
            return Ok(Column::of_attribute(attribute.clone()));
        }
        let entries = entries(form, "a column", &COLUMN_KEYS)?;
        let attribute = entries.iter().find(|(key, _)| *key == "attribute");
        let Some((_, attribute)) = attribute else {
            return Err(Error::incorrect("db.error/mapping", "a column needs its :attribute"));
        };
        let mut column = Column::of_attribute(keyword(attribute, ":attribute")?);
        for (key, value) in entries {
            match key {
                "ref" => column.reference = Some(keyword(value, ":ref")?),
                "create" => match value {
                    Edn::Bool(create) => column.create = *create,
                    _ => return Err(wrong(":create", "true or false", value)),
                },
                "separator" => match string(value, ":separator")? {
                    separator if separator.is_empty() => return Err(wrong(":separator", "not empty", value)),
                    separator => column.separator = Some(separator),
                },
                "type" => {
                    let name = keyword(value, ":type")?;
                    column.value_type = Some(ValueType::from_name(name.name()).ok_or_else(|| {
                        let near = suggestion(name.name(), ValueType::ALL.into_iter().map(ValueType::name));
                        Error::incorrect("db.error/mapping", format!("there is no type {name}{near}"))
                    })?);
                }
                "null" => column.null = Some(strings(value)?),
                _ => {}
            }
        }
        if column.create && column.reference.is_none() {
            return Err(Error::incorrect(
                "db.error/mapping",
                ":create is for references: say which attribute with :ref",
            ));
        }
        Ok(column)
    }
}

/// The entries of a map with known keywords for keys.
fn entries<'a>(form: &'a Edn, what: &str, known: &[&str]) -> Result<Vec<(&'a str, &'a Edn)>> {
    let Edn::Map(entries) = form else { return Err(wrong(what, "a map", form)) };
    let entry = |(key, value): &'a (Edn, Edn)| match key {
        Edn::Keyword(keyword) if known.contains(&keyword.as_str()) => Ok((keyword.as_str(), value)),
        Edn::Keyword(keyword) => {
            let near = suggestion(keyword.as_str(), known.iter().copied());
            let message = format!("{what} has no {keyword}{near}; it has :{}", known.join(", :"));
            Err(Error::incorrect("db.error/mapping", message))
        }
        other => Err(wrong(what, "a map of keywords", other)),
    };
    entries.iter().map(entry).collect()
}

fn keyword(form: &Edn, what: &str) -> Result<Keyword> {
    match form {
        Edn::Keyword(keyword) => Ok(keyword.clone()),
        other => Err(wrong(what, "a keyword", other)),
    }
}

fn string(form: &Edn, what: &str) -> Result<String> {
    match form {
        Edn::String(text) => Ok(text.to_string()),
        other => Err(wrong(what, "text in quotes", other)),
    }
}

fn strings(form: &Edn) -> Result<Vec<String>> {
    match form {
        Edn::Vector(forms) => forms.iter().map(|form| string(form, ":null")).collect(),
        one => Ok(vec![string(one, ":null")?]),
    }
}

fn wrong(what: &str, wanted: &str, form: &Edn) -> Error {
    let shown: String = form.to_string().chars().take(60).collect();
    Error::incorrect("db.error/mapping", format!("{what} is to be {wanted}, but here is {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Mapping> {
        Mapping::of(&db::edn::read(text).unwrap())
    }

    #[test]
    fn a_mapping_says_what_columns_are() {
        let mapping = of(r#"{:columns {"name" :country/name
                                       "continent" {:attribute :country/continent :ref :continent/code :create true}
                                       "languages" {:attribute :country/languages :separator "|" :null "-"}
                                       "area" {:attribute :country/area :type :long}}
                             :identity "name" :null ["" "NA"] :constants {:source/file "x"} :delimiter ";"}"#);
        let mapping = mapping.unwrap();
        assert_eq!(mapping.columns.len(), 4);
        assert_eq!(mapping.column("name"), Some(&Column::of_attribute(Keyword::new("country/name"))));
        let continent = mapping.column("continent").unwrap();
        assert_eq!((continent.reference.clone(), continent.create), (Some(Keyword::new("continent/code")), true));
        let languages = mapping.column("languages").unwrap();
        assert_eq!((languages.separator.as_deref(), languages.null.clone()), (Some("|"), Some(vec!["-".to_owned()])));
        assert_eq!(mapping.column("area").unwrap().value_type, Some(ValueType::Long));
        assert_eq!((mapping.null.len(), mapping.delimiter, mapping.constants.len()), (2, b';', 1));
    }

    #[test]
    fn what_is_wrong_with_a_mapping_is_named() {
        let refused = |text| of(text).unwrap_err().message().to_owned();
        assert_eq!(
            refused("{:column {}}"),
            "a mapping has no :column; do you mean columns?; it has :columns, :identity, :null, :constants, :delimiter"
        );
        assert_eq!(refused("{}"), "a mapping needs :columns, with one column at least");
        assert_eq!(refused("[1]"), "a mapping is to be a map, but here is [1]");
        assert!(refused(r#"{:columns {"a" {:ref :x/y}}}"#).contains("column `a`: a column needs its :attribute"));
        assert!(
            refused(r#"{:columns {"a" {:attribute :a/b :type :lnog}}}"#).contains("no type :lnog; do you mean long?")
        );
        assert!(refused(r#"{:columns {"a" {:attribute :a/b :create true}}}"#).contains(":create is for references"));
        assert!(
            refused(r#"{:columns {"name" :a/b} :identity "nmae"}"#)
                .contains("which :columns has not; do you mean name?")
        );
        assert!(refused(r#"{:columns {"a" "b"}}"#).contains("column `a`: a column is to be a map, but here is \"b\""));
    }
}
