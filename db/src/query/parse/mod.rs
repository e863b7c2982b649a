//! EDN forms to queries.
//!
//! ```text
//! query   = [:find find :keys|:strs|:syms [name …] :with [?x …] :in [input …] :where [clause …]]   or a map of them
//! find    = element … | [element ...] | [element …] | element .
//! element = ?x | (pull $src? ?x pattern) | (aggregate n? ?x)
//! input   = $src | % | name | ?x | [?x ...] | [?a _ ?b] | [[?a _ ?b]] | _
//! clause  = [$src? e a v tx op] | [(predicate arg …)] | [(function arg …) binding]
//!         | ($src? not clause …) | ($src? not-join [?x …] clause …) | (and clause …)
//!         | ($src? or clause …) | ($src? or-join [[?required …] ?x …] clause …) | ($src? rule arg …)
//! ```
//!
//! The clauses of a conjunction are put into one order here, whatever the order in which they were written: no
//! later step can come to depend on it.

mod clause;
mod find;
mod rules;

use super::ast::{Binding, Clause, InputForm, Query, SourceId, Var, VarSet};
use crate::edn::Edn;
use crate::text::brief;
use crate::{Error, Result};
use std::collections::BTreeMap;

pub(crate) use clause::connective_names;
pub(crate) use find::callable_names;
pub(crate) use rules::parse_rules;

/// Clauses nest no deeper.
const DEPTH_MAX: usize = 64;
/// A query or rule branch has no more clauses, nested ones included.
const CLAUSES_MAX: usize = 4096;
/// A query or rule branch has no more variables.
const VARS_MAX: usize = 4096;

fn error(message: impl Into<String>) -> Error {
    Error::incorrect("db.error/invalid-query", message)
}

const SECTIONS: [&str; 7] = ["find", "keys", "strs", "syms", "with", "in", "where"];
const SECTIONS_LATER: [&str; 4] = ["order-by", "limit", "offset", "timeout"];

impl Query {
    /// Parses the vector or the map form.
    pub fn parse(form: &Edn) -> Result<Query> {
        let sections = sections(form)?;
        let section = |name: &str| sections.get(name).map_or(&[][..], Vec::as_slice);
        if section("find").is_empty() {
            return Err(error("the query has no :find; begin it with :find and what to return"));
        }

        let mut parser = Parser::default();
        let default_in = [Edn::symbol("$")];
        let in_forms = if sections.contains_key("in") { section("in") } else { &default_in };
        let inputs = parser.inputs(in_forms)?;
        let clauses = parser.conjunction(section("where"), 0)?;
        let (shape, find, columns) = parser.find(section("find"), &inputs)?;
        let keys = find::keys(&sections, shape, find.len())?;
        let with = section("with").iter().map(|form| parser.known_var(form, ":with")).collect::<Result<Vec<Var>>>()?;

        let query = Query {
            shape,
            find,
            columns,
            keys,
            with,
            inputs,
            default_source: parser.source("$").ok(),
            sources: parser.sources,
            clauses,
            names: parser.names,
        };
        query.check_bound()?;
        Ok(query)
    }

    /// Everything that is asked for comes from some clause or input.
    fn check_bound(&self) -> Result<()> {
        let mut bound = VarSet::default();
        for (input, _) in &self.inputs {
            if let InputForm::Binding(binding) = input {
                binding.vars().into_iter().for_each(|var| bound.insert(var));
            }
        }
        self.clauses.iter().for_each(|clause| bound.extend(&clause.binds));
        let find =
            self.find.iter().zip(&self.columns).map(|(element, column)| (element.var(), format!(":find {column}")));
        for (var, place) in find.chain(self.with.iter().map(|var| (*var, ":with".to_string()))) {
            if !bound.contains(var) {
                return Err(Error::incorrect(
                    "db.error/insufficient-binding",
                    format!(
                        "{} in {place} is bound by no clause of :where and no input of :in",
                        self.names[var.0 as usize]
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The shape that `:find` asks for.
    pub fn shape(&self) -> super::Shape {
        self.shape
    }

    /// The forms of `:in`, one for each input to be given, `[$]` where the query has none.
    pub fn inputs(&self) -> impl Iterator<Item = &Edn> {
        self.inputs.iter().map(|(_, form)| form)
    }
}

pub(crate) fn section_names() -> impl Iterator<Item = &'static str> {
    SECTIONS.into_iter()
}

/// The forms of each section by its name.
fn sections(form: &Edn) -> Result<BTreeMap<&str, Vec<Edn>>> {
    let mut sections: BTreeMap<&str, Vec<Edn>> = BTreeMap::new();
    let open = |keyword: &Edn| -> Result<&'static str> {
        let Edn::Keyword(keyword) = keyword else {
            return Err(error(format!("expected a section such as :find or :where in place of {}", brief(keyword))));
        };
        let name = keyword.as_str();
        if let Some(later) = SECTIONS_LATER.into_iter().find(|later| *later == name) {
            return Err(Error::unsupported(
                "db.error/unsupported",
                format!(":{later} is not supported yet; remove it"),
            ));
        }
        SECTIONS.into_iter().find(|section| *section == name).ok_or_else(|| {
            error(format!("{keyword} is no section of a query; the sections are :{}", SECTIONS.join(", :")))
        })
    };
    match form {
        Edn::Vector(forms) | Edn::List(forms) => {
            let mut current = None;
            for form in forms {
                if matches!(form, Edn::Keyword(_)) || current.is_none() {
                    let name = open(form)?;
                    if sections.insert(name, Vec::new()).is_some() {
                        return Err(error(format!(":{name} stands twice in the query")));
                    }
                    current = Some(name);
                } else if let Some(name) = current {
                    sections.entry(name).or_default().push(form.clone());
                }
            }
        }
        Edn::Map(entries) => {
            for (key, value) in entries {
                let name = open(key)?;
                let forms = value.as_sequence().ok_or_else(|| {
                    error(format!(":{name} of a query in map form is a vector, not {}", brief(value)))
                })?;
                sections.insert(name, forms.to_vec());
            }
        }
        other => {
            return Err(error(format!("a query is a vector [:find …] or a map {{:find […]}}, not {}", brief(other))));
        }
    }
    Ok(sections)
}

/// Numbers variables and sources while it reads clauses.
#[derive(Default)]
pub(super) struct Parser {
    names: Vec<String>,
    /// The variables that can be seen from where the parser is: one map a scope, the innermost last.
    scopes: Vec<BTreeMap<String, Var>>,
    sources: Vec<String>,
    clauses: usize,
}

impl Parser {
    fn with_sources(sources: &[String]) -> Parser {
        Parser { sources: sources.to_vec(), ..Parser::default() }
    }

    fn var(&mut self, name: &str) -> Result<Var> {
        if self.scopes.is_empty() {
            self.scopes.push(BTreeMap::new());
        }
        let scope = self.scopes.last_mut().expect("a scope was pushed");
        if let Some(var) = scope.get(name) {
            return Ok(*var);
        }
        if self.names.len() == VARS_MAX {
            return Err(error(format!("a query has at most {VARS_MAX} variables")));
        }
        let var = Var(self.names.len() as u32);
        self.names.push(name.to_string());
        scope.insert(name.to_string(), var);
        Ok(var)
    }

    /// A variable in find, with or a list of variables.
    fn known_var(&mut self, form: &Edn, place: &str) -> Result<Var> {
        match form {
            Edn::Symbol(symbol) if is_var(symbol.as_str()) => self.var(symbol.as_str()),
            other => Err(error(format!("{place} takes variables such as ?x, not {}", brief(other)))),
        }
    }

    fn source(&self, name: &str) -> Result<SourceId> {
        self.sources.iter().position(|source| source == name).map(SourceId).ok_or_else(|| {
            error(format!(
                "no source {name} among the inputs; :in names {}",
                if self.sources.is_empty() { "none".to_string() } else { self.sources.join(" ") }
            ))
        })
    }

    fn inputs(&mut self, forms: &[Edn]) -> Result<Vec<(InputForm, Edn)>> {
        let mut inputs: Vec<(InputForm, Edn)> = Vec::new();
        for form in forms {
            let input = match form {
                Edn::Symbol(symbol) if is_source(symbol.as_str()) => {
                    if self.sources.iter().any(|source| source == symbol.as_str()) {
                        return Err(error(format!("{symbol} stands twice in :in")));
                    }
                    self.sources.push(symbol.as_str().to_string());
                    InputForm::Source
                }
                Edn::Symbol(symbol) if symbol.as_str() == "%" => InputForm::Rules,
                Edn::Symbol(symbol) if !is_var(symbol.as_str()) && symbol.as_str() != "_" => InputForm::Pattern,
                _ => InputForm::Binding(self.binding(form)?),
            };
            let twice = match &input {
                InputForm::Rules | InputForm::Pattern => inputs.iter().any(|(_, other)| other == form),
                InputForm::Source => false,
                InputForm::Binding(binding) => {
                    let mut bound: Vec<Var> = Vec::new();
                    for (other, _) in &inputs {
                        if let InputForm::Binding(other) = other {
                            other.collect_vars(&mut bound);
                        }
                    }
                    binding.vars().iter().any(|var| bound.contains(var))
                }
            };
            if twice {
                return Err(error(format!("{} names something that :in has already", brief(form))));
            }
            inputs.push((input, form.clone()));
        }
        Ok(inputs)
    }

    fn binding(&mut self, form: &Edn) -> Result<Binding> {
        match form {
            Edn::Symbol(symbol) if symbol.as_str() == "_" => Ok(Binding::Ignore),
            Edn::Symbol(symbol) if is_var(symbol.as_str()) => Ok(Binding::Scalar(self.var(symbol.as_str())?)),
            Edn::Vector(parts) => match parts.as_slice() {
                [inner, Edn::Symbol(dots)] if dots.as_str() == "..." => {
                    let inner = match inner {
                        Edn::Vector(_) => Binding::Tuple(self.flat_bindings(inner)?),
                        _ => self.binding(inner)?,
                    };
                    Ok(match inner {
                        Binding::Tuple(parts) => Binding::Relation(parts),
                        inner => Binding::Collection(Box::new(inner)),
                    })
                }
                [inner @ Edn::Vector(_)] => Ok(Binding::Relation(self.flat_bindings(inner)?)),
                [] => Err(error("an empty binding []; bind a variable or _")),
                _ => Ok(Binding::Tuple(self.flat_bindings(form)?)),
            },
            other => Err(error(format!("{} is no binding; use ?x, [?x ...], [?a ?b], [[?a ?b]] or _", brief(other)))),
        }
    }

    /// The variables and blanks of a tuple.
    fn flat_bindings(&mut self, form: &Edn) -> Result<Vec<Binding>> {
        let parts = form.as_sequence().unwrap_or_default();
        if parts.is_empty() {
            return Err(error("an empty binding []; bind a variable or _"));
        }
        parts
            .iter()
            .map(|part| match part {
                Edn::Symbol(_) => self.binding(part),
                other => Err(error(format!("a tuple binding holds variables and _, not {}", brief(other)))),
            })
            .collect()
    }
}

pub(super) fn is_var(symbol: &str) -> bool {
    symbol.starts_with('?') && symbol.len() > 1
}

pub(super) fn is_source(symbol: &str) -> bool {
    symbol.starts_with('$')
}

/// Puts clauses into the order of their forms.
fn in_order(mut clauses: Vec<Clause>) -> Vec<Clause> {
    clauses.sort_by(|a, b| a.form.cmp(&b.form));
    clauses
}
