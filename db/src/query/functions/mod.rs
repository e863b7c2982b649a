//! Built-in functions and predicates, by name.
//!
//! A function takes values or nil (None) and gives a value or nil. As a predicate its row stays where the result
//! is neither nil nor false. Names are those of `clojure.core`, `clojure.string` and Datomic; the prefixes
//! `clojure.core/` and `clojure.string/` may be written.

mod arithmetic;
mod collections;
mod compare;
mod logic;
mod strings;

use crate::budget::Budget;
use crate::model::Value;
use crate::text::near_names;
use crate::{Error, Result};
use regex::Regex;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::fmt;

pub(crate) use arithmetic::{add, divide, subtract, to_double};
pub(crate) use compare::{Comparison, compare, equal_key};

/// A built-in, as its name resolves while a query is parsed.
pub(crate) struct Function {
    pub name: &'static str,
    args_min: usize,
    /// None: any number.
    args_max: Option<usize>,
    pub op: Op,
}

/// From arguments to a result, None being nil.
pub(crate) type Pure = fn(&Env<'_>, &[Option<Value>]) -> Result<Option<Value>>;

/// How a function is evaluated.
pub(crate) enum Op {
    /// Kept apart so that whole columns can be compared, and ranges pushed into an index.
    Compare(Comparison),
    /// Needs nothing but its arguments.
    Pure(Pure),
    /// `(get-else $ ?e :attr default)`
    GetElse,
    /// `(get-some $ ?e :attr …)`
    GetSome,
    /// `(missing? $ ?e :attr)`
    Missing,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Function {
    pub(crate) fn check_arity(&self, args: usize) -> Result<()> {
        if args >= self.args_min && self.args_max.is_none_or(|max| args <= max) {
            return Ok(());
        }
        let expected = match self.args_max {
            Some(max) if max == self.args_min => format!("{max}"),
            Some(max) => format!("{} to {max}", self.args_min),
            None => format!("at least {}", self.args_min),
        };
        Err(Error::incorrect(
            "db.error/arity",
            format!("{} takes {expected} argument{}, not {args}", self.name, if expected == "1" { "" } else { "s" }),
        ))
    }
}

/// What functions share during one run of a query.
pub(crate) struct Env<'a> {
    pub budget: &'a Budget<'a>,
    regexes: RefCell<FxHashMap<String, Regex>>,
}

/// Compiled expressions kept at once.
const REGEXES_MAX: usize = 64;

impl<'a> Env<'a> {
    pub(crate) fn new(budget: &'a Budget<'a>) -> Self {
        Env { budget, regexes: RefCell::default() }
    }

    /// The expression compiled, or remembered from an earlier row.
    fn regex(&self, pattern: &str) -> Result<Regex> {
        if let Some(regex) = self.regexes.borrow().get(pattern) {
            return Ok(regex.clone());
        }
        let regex = strings::compile(pattern)?;
        let mut regexes = self.regexes.borrow_mut();
        if regexes.len() == REGEXES_MAX {
            regexes.clear();
        }
        regexes.insert(pattern.to_string(), regex.clone());
        Ok(regex)
    }
}

static FUNCTIONS: [&[Function]; 5] =
    [arithmetic::FUNCTIONS, collections::FUNCTIONS, compare::FUNCTIONS, logic::FUNCTIONS, strings::FUNCTIONS];

/// Functions of Datomic's that come later, refused by name.
const LATER: [&str; 4] = ["q", "tx-ids", "tx-data", "fulltext"];

/// The names of all.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.into_iter().flatten().map(|function| function.name)
}

/// The function of a name.
pub(crate) fn find(name: &str) -> Result<&'static Function> {
    let plain = name.strip_prefix("clojure.core/").or_else(|| name.strip_prefix("clojure.string/")).unwrap_or(name);
    if let Some(function) = FUNCTIONS.into_iter().flatten().find(|function| function.name == plain) {
        return Ok(function);
    }
    if LATER.contains(&plain) {
        return Err(Error::unsupported("db.error/unsupported", format!("the function {plain} is not supported yet")));
    }
    let near = near_names(plain, names());
    let rest = if near.is_empty() { format!("; there are {}", names().collect::<Vec<_>>().join(" ")) } else { near };
    Err(Error::incorrect("db.error/unknown-function", format!("{name} is no function or predicate{rest}")))
}

/// A pure function for the tables.
const fn pure(name: &'static str, args_min: usize, args_max: Option<usize>, f: Pure) -> Function {
    Function { name, args_min, args_max, op: Op::Pure(f) }
}

fn wrong_type(function: &str, expected: &str, value: &Option<Value>) -> Error {
    let found = match value {
        None => "nil".to_string(),
        Some(value) => format!("{value}, a {}", value.value_type().name()),
    };
    Error::incorrect("db.error/wrong-type-for-function", format!("{function} takes {expected}, not {found}"))
}

fn boolean(truth: bool) -> Result<Option<Value>> {
    Ok(Some(Value::Boolean(truth)))
}

/// Neither nil nor false.
pub(crate) fn is_truthy(value: &Option<Value>) -> bool {
    !matches!(value, None | Some(Value::Boolean(false)))
}

#[cfg(test)]
mod tests;
