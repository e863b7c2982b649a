//! Transactions from the rows of a CSV file.
//!
//! Each row becomes a map of tx-data, rows become transactions in batches. A batch ends early before a row about an
//! entity that it speaks of already, so that rows about one entity are committed in their order and a later one wins.

use super::cells;
use super::mapping::{Column, Mapping};
use super::{Parcel, Parcels};
use crate::attributes::Attributes;
use crate::nearest::suggestion;
use csv::StringRecord;
use db::edn::Edn;
use db::model::ValueType;
use db::{Error, Result};
use std::collections::BTreeSet;
use std::io::Read;

/// Rows in a transaction, unless told otherwise.
pub(super) const BATCH: usize = 1000;
/// A transaction's text is ended after this many bytes, however few its rows are; a row may have as many.
const BATCH_BYTES: usize = 8 << 20;

pub(super) struct Rows<R> {
    reader: csv::Reader<R>,
    name: String,
    fields: Vec<Field>,
    left_out: Vec<String>,
    constants: String,
    /// The place of the identity column among the fields.
    identity: Option<usize>,
    batch: usize,
    /// A row that was read and belongs to the next batch.
    waiting: Option<Row>,
    rows_read: u64,
}

/// A column of the file that is imported.
#[derive(Clone, Debug)]
struct Field {
    at: usize,
    name: String,
    column: Column,
    value_type: ValueType,
    many: bool,
    null: Vec<String>,
}

struct Row {
    text: String,
    identity: Option<String>,
    line: u64,
    end_offset: u64,
}

impl<R: Read> Rows<R> {
    /// Reads the header and holds it, the mapping and the schema against each other.
    pub(super) fn new(
        source: R,
        name: String,
        mapping: Option<Mapping>,
        attributes: &Attributes,
        batch: usize,
    ) -> Result<Rows<R>> {
        let delimiter = mapping.as_ref().map_or(b',', |mapping| mapping.delimiter);
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(source);
        let header = reader.headers().map_err(|error| unreadable(&name, &error))?.clone();
        // Spreadsheets put a byte order mark in front.
        let header: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}').trim()).collect();
        let wrong = |message: String| Error::incorrect("db.error/csv", format!("{name}: {message}"));
        if header.iter().all(|name| name.is_empty()) {
            return Err(wrong("there is no header: the first row names the columns".into()));
        }
        if let Some(twice) = header.iter().enumerate().find(|(at, name)| header[..*at].contains(name)) {
            return Err(wrong(format!("the header names `{}` twice", twice.1)));
        }

        let mapping = mapping.unwrap_or_else(|| Mapping::of_header(header.iter().copied()));
        let mut fields = Vec::new();
        for (column_name, column) in &mapping.columns {
            let Some(at) = header.iter().position(|name| name == column_name) else {
                let near = suggestion(column_name, header.iter().copied());
                return Err(wrong(format!("the mapping speaks of a column `{column_name}`, which is not there{near}")));
            };
            let field = Field::new(at, column_name, column, &mapping, attributes);
            fields.push(field.map_err(|error| error.within(format!("{name}, column `{column_name}`")))?);
        }
        let identity = mapping.identity.as_ref().and_then(|identity| fields.iter().position(|f| f.name == *identity));
        if let Some(field) = identity.map(|at| &fields[at]) {
            let ident = field.column.attribute.as_str();
            let unique = attributes.get(ident).and_then(|attribute| attribute.unique.as_deref());
            if unique != Some("identity") || field.column.separator.is_some() {
                let message = format!("`{}` is the :identity, but :{ident} is no :db.unique/identity", field.name);
                return Err(wrong(message));
            }
        }
        let is_left_out = |name: &&&str| mapping.column(name).is_none();
        let left_out = header.iter().filter(is_left_out).map(|name| name.to_string()).collect();
        let constants = mapping.constants.iter().map(|(attribute, value)| format!(" {attribute} {value}")).collect();
        Ok(Rows { reader, name, fields, left_out, constants, identity, batch, waiting: None, rows_read: 0 })
    }

    /// The columns that the mapping does not name.
    pub(super) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    fn next_row(&mut self) -> Result<Option<Row>> {
        if let Some(row) = self.waiting.take() {
            return Ok(Some(row));
        }
        let mut record = StringRecord::new();
        loop {
            if !self.reader.read_record(&mut record).map_err(|error| unreadable(&self.name, &error))? {
                return Ok(None);
            }
            self.rows_read += 1;
            let line = record.position().map_or(0, csv::Position::line);
            let place = |field: &Field| format!("{} line {line}, column `{}`", self.name, field.name);
            let mut text = String::from("{");
            for field in &self.fields {
                let cell = record.get(field.at).unwrap_or_default();
                if let Some(form) = field.form(cell).map_err(|error| error.within(place(field)))? {
                    text.push_str(&format!("{} {form} ", field.column.attribute));
                }
            }
            // A row of nothing but nulls says nothing.
            if text.len() == 1 {
                continue;
            }
            let identity = match self.identity.map(|at| &self.fields[at]) {
                None => None,
                Some(field) => match record.get(field.at).unwrap_or_default() {
                    cell if field.is_null(cell) => {
                        let message = "the :identity has no value here, so that nobody can tell whom the row is about";
                        return Err(Error::incorrect("db.error/csv", message).within(place(field)));
                    }
                    cell => Some(cell.to_owned()),
                },
            };
            text.truncate(text.trim_end().len());
            text.push_str(&self.constants);
            text.push('}');
            return Ok(Some(Row { text, identity, line, end_offset: self.reader.position().byte() }));
        }
    }
}

impl<R: Read> Parcels for Rows<R> {
    fn next_parcel(&mut self) -> Result<Option<Parcel>> {
        let Some(first) = self.next_row()? else { return Ok(None) };
        let first_line = first.line;
        let (mut text, mut spoken_of, mut rows) = (String::from("["), BTreeSet::new(), 0);
        let (mut last_line, mut end_offset) = (first.line, first.end_offset);
        let mut next = Some(first);
        while let Some(row) = next {
            let again = row.identity.as_ref().is_some_and(|identity| spoken_of.contains(identity));
            if rows == self.batch || again || rows > 0 && text.len() + row.text.len() > BATCH_BYTES {
                self.waiting = Some(row);
                break;
            }
            if rows > 0 {
                text.push('\n');
            }
            text.push_str(&row.text);
            spoken_of.extend(row.identity);
            (rows, last_line, end_offset) = (rows + 1, row.line, row.end_offset);
            next = self.next_row()?;
        }
        text.push(']');
        let place = match first_line == last_line {
            true => format!("{} line {first_line}", self.name),
            false => format!("{} lines {first_line} to {last_line}", self.name),
        };
        Ok(Some(Parcel { text, place, end_offset }))
    }
}

impl Field {
    fn new(at: usize, name: &str, column: &Column, mapping: &Mapping, attributes: &Attributes) -> Result<Field> {
        let wrong = |message: String| Error::incorrect("db.error/csv", message);
        let known = |ident: &str| {
            attributes.get(ident).ok_or_else(|| {
                let near = suggestion(ident, attributes.idents());
                wrong(format!("the database has no attribute :{ident}{near}; transact the schema first"))
            })
        };
        let attribute = known(column.attribute.as_str())?;
        let mut value_type = column.value_type.unwrap_or(attribute.value_type);
        if let Some(reference) = &column.reference {
            if attribute.value_type != ValueType::Ref {
                return Err(wrong(format!(":ref is for references, but {} is none", column.attribute)));
            }
            let target = known(reference.as_str())?;
            let is_enough = if column.create { &["identity"][..] } else { &["identity", "value"] };
            if !target.unique.as_deref().is_some_and(|unique| is_enough.contains(&unique)) {
                let needed = if column.create { ":db.unique/identity, as :create needs it" } else { ":db/unique" };
                return Err(wrong(format!(":ref names {reference}, which is not {needed}")));
            }
            value_type = column.value_type.unwrap_or(target.value_type);
        }
        if column.separator.is_some() && !attribute.many {
            return Err(wrong(format!(":separator is for many values, but {} has one", column.attribute)));
        }
        let null = column.null.clone().unwrap_or_else(|| mapping.null.clone());
        Ok(Field { at, name: name.to_owned(), column: column.clone(), value_type, many: attribute.many, null })
    }

    fn is_null(&self, cell: &str) -> bool {
        self.null.iter().any(|null| null == cell || null == cell.trim())
    }

    /// What the cell says, None when it is null.
    fn form(&self, cell: &str) -> Result<Option<Edn>> {
        if self.is_null(cell) {
            return Ok(None);
        }
        let pieces: Vec<&str> = match &self.column.separator {
            Some(separator) => cell.split(separator.as_str()).map(str::trim).collect(),
            None => vec![cell],
        };
        let mut forms: Vec<Edn> = Vec::new();
        for piece in pieces.into_iter().filter(|piece| !self.is_null(piece)) {
            forms.push(self.value(piece)?);
        }
        Ok(match self.many {
            _ if forms.is_empty() => None,
            true => Some(Edn::Vector(forms)),
            false => forms.pop(),
        })
    }

    fn value(&self, text: &str) -> Result<Edn> {
        let value = cells::value(text, self.value_type).ok_or_else(|| {
            let shown: String = text.chars().take(60).collect();
            let message = format!("`{shown}` is no {}", self.value_type.name());
            let hint = match (self.value_type, &self.column.reference) {
                (ValueType::Ref, None) => ": say with :ref which attribute names the entity, or give its id",
                _ => "",
            };
            Error::incorrect("db.error/csv", format!("{message}{hint}"))
        })?;
        Ok(match &self.column.reference {
            None => value,
            Some(reference) if self.column.create => Edn::Map(vec![(Edn::Keyword(reference.clone()), value)]),
            Some(reference) => Edn::Vector(vec![Edn::Keyword(reference.clone()), value]),
        })
    }
}

fn unreadable(name: &str, error: &csv::Error) -> Error {
    let message = match (error.kind(), error.position()) {
        (csv::ErrorKind::UnequalLengths { expected_len, len, .. }, Some(position)) => {
            format!("{name} line {}: the row has {len} fields, the header {expected_len}", position.line())
        }
        (csv::ErrorKind::Utf8 { err, .. }, Some(position)) => {
            format!("{name} line {}, field {}: the text is not UTF-8", position.line(), err.field() + 1)
        }
        _ => format!("{name} cannot be read: {error}"),
    };
    Error::incorrect("db.error/csv", message)
}
