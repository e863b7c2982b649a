//! Pull patterns as data.
//!
//! ```text
//! pattern   = [spec+]
//! spec      = attribute | * | "*" | {attribute (pattern | recursion), …}
//! attribute = name | [name option*] | (name option*)
//!           | (limit name n) | (default name value)                   the older way to write options
//! name      = :ns/attr | :ns/_attr (reversed) | :db/id
//! option    = :as key | :limit n | :limit nil | :default value | :xform function
//! recursion = n | ... | "..."
//! ```

use super::transform::Transform;
use crate::edn::Edn;
use crate::model::{Keyword, Value};
use crate::text::brief;
use crate::{Error, Item, Result};
use std::sync::Arc;

/// Values of one attribute that are pulled if the pattern gives no limit.
pub(super) const LIMIT_DEFAULT: usize = 1000;

/// Patterns in patterns.
const NESTING_MAX: usize = 64;

/// A pull pattern, read. What its attributes are is asked of a database by [`super::Plan`].
#[derive(Clone, Debug)]
pub struct Pattern {
    pub(super) wildcard: bool,
    pub(super) specs: Vec<Spec>,
}

/// One attribute that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: Keyword,
    /// What it is called in the answer.
    pub(super) key: Item,
    pub(super) limit: Limit,
    pub(super) default: Option<Item>,
    pub(super) transform: Option<Transform>,
    pub(super) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Cut off at [`LIMIT_DEFAULT`], with a warning.
    Default,
    /// As many as the pattern says; None is all.
    Given(Option<usize>),
}

/// What is pulled of referenced entities.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// The id and the ident; of components everything.
    Reference,
    Pattern(Arc<Pattern>),
    /// The pattern this stands in, again: as many times as given, or until no more is found.
    Recurse(Option<u32>),
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(form: &Edn) -> Result<Pattern> {
        parse(form, NESTING_MAX)
    }
}

fn parse(form: &Edn, nesting: usize) -> Result<Pattern> {
    let Edn::Vector(forms) = form else {
        return Err(invalid(format!("a pull pattern is a vector, not {}", brief(form))));
    };
    if forms.is_empty() {
        return Err(invalid("a pull pattern is not empty: name attributes, or * for all".into()));
    }
    let Some(nesting) = nesting.checked_sub(1) else {
        return Err(invalid(format!("pull patterns are nested more than {NESTING_MAX} deep")));
    };
    let mut pattern = Pattern { wildcard: false, specs: Vec::with_capacity(forms.len()) };
    for form in forms {
        match form {
            _ if is_word(form, "*") => pattern.wildcard = true,
            Edn::Map(entries) => {
                for (attribute, then) in entries {
                    let mut spec = attribute_spec(attribute)?;
                    if spec.name.as_str() == "db/id" {
                        return Err(invalid(format!("{}: :db/id is no reference", brief(form))));
                    }
                    spec.then = then_of(then, nesting)?;
                    pattern.specs.push(spec);
                }
            }
            _ => pattern.specs.push(attribute_spec(form)?),
        }
    }
    Ok(pattern)
}

fn then_of(form: &Edn, nesting: usize) -> Result<Then> {
    match form {
        Edn::Vector(_) => Ok(Then::Pattern(Arc::new(parse(form, nesting)?))),
        _ if is_word(form, "...") => Ok(Then::Recurse(None)),
        Edn::Long(n) if *n > 0 => Ok(Then::Recurse(Some(u32::try_from(*n).unwrap_or(u32::MAX)))),
        _ => Err(invalid(format!(
            "{} says nothing of a referenced entity: give a pattern, a depth (1, 2, …) or ...",
            brief(form)
        ))),
    }
}

fn attribute_spec(form: &Edn) -> Result<Spec> {
    let parts = match form {
        Edn::Keyword(name) => return Ok(Spec::plain(name)),
        Edn::Vector(parts) | Edn::List(parts) => &parts[..],
        _ => return Err(not_a_spec(form)),
    };
    match parts {
        [Edn::Keyword(name), options @ ..] => with_options(form, name, options),
        [word, Edn::Keyword(name), limit] if is_word(word, "limit") => {
            Ok(Spec { limit: limit_of(form, limit)?, ..Spec::plain(name) })
        }
        [word, Edn::Keyword(name), default] if is_word(word, "default") => {
            Ok(Spec { default: Some(item(form, default)?), ..Spec::plain(name) })
        }
        _ => Err(not_a_spec(form)),
    }
}

/// Takes an option's value into the spec, which was written as the form.
type SetOption = fn(&mut Spec, &Edn, &Edn) -> Result<()>;

const OPTIONS: [(&str, SetOption); 4] = [
    ("as", |spec, form, value| item(form, value).map(|key| spec.key = key)),
    ("limit", |spec, form, value| limit_of(form, value).map(|limit| spec.limit = limit)),
    ("default", |spec, form, value| item(form, value).map(|default| spec.default = Some(default))),
    ("xform", |spec, form, value| Transform::parse(form, value).map(|transform| spec.transform = Some(transform))),
];

pub(crate) fn option_names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

fn with_options(form: &Edn, name: &Keyword, options: &[Edn]) -> Result<Spec> {
    let mut spec = Spec::plain(name);
    for option in options.chunks(2) {
        let [Edn::Keyword(option), value] = option else {
            return Err(invalid(format!("{}: options are pairs such as :limit 10", brief(form))));
        };
        let Some((_, set)) = OPTIONS.iter().find(|(known, _)| *known == option.as_str()) else {
            let known: Vec<&str> = option_names().collect();
            let message = format!("{}: unknown option {option}; options are :{}", brief(form), known.join(", :"));
            return Err(invalid(message));
        };
        set(&mut spec, form, value)?;
    }
    Ok(spec)
}

fn limit_of(form: &Edn, limit: &Edn) -> Result<Limit> {
    match limit {
        Edn::Nil => Ok(Limit::Given(None)),
        Edn::Long(n) if *n > 0 => Ok(Limit::Given(Some(usize::try_from(*n).unwrap_or(usize::MAX)))),
        _ => Err(invalid(format!("{}: a limit is a positive number, or nil for all", brief(form)))),
    }
}

impl Spec {
    fn plain(name: &Keyword) -> Spec {
        Spec {
            name: name.clone(),
            key: Item::Value(Value::Keyword(name.clone())),
            limit: Limit::Default,
            default: None,
            transform: None,
            then: Then::Reference,
        }
    }
}

fn is_word(form: &Edn, word: &str) -> bool {
    match form {
        Edn::Symbol(symbol) => symbol.as_str() == word,
        Edn::String(text) => text == word,
        _ => false,
    }
}

fn not_a_spec(form: &Edn) -> Error {
    invalid(format!(
        "{} is no part of a pull pattern: give an attribute, *, an attribute with options such as [:a/b :limit 10], or \
         a map from attribute to pattern",
        brief(form)
    ))
}

fn invalid(message: String) -> Error {
    Error::incorrect("db.error/invalid-pull-pattern", message)
}

/// A form of the pattern as it is to stand in the answer.
fn item(within: &Edn, form: &Edn) -> Result<Item> {
    let all = |forms: &[Edn]| forms.iter().map(|form| item(within, form)).collect::<Result<Vec<Item>>>();
    Ok(match form {
        Edn::Nil => Item::Nil,
        Edn::Vector(forms) | Edn::List(forms) => Item::Vector(all(forms)?),
        Edn::Set(forms) => Item::Set(all(forms)?),
        Edn::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((item(within, key)?, item(within, value)?)));
            Item::Map(entries.collect::<Result<_>>()?)
        }
        other => Item::Value(other.scalar().ok_or_else(|| no_item(within, other))?),
    })
}

fn no_item(within: &Edn, form: &Edn) -> Error {
    invalid(format!("{}: {} cannot stand in an answer", brief(within), brief(form)))
}
