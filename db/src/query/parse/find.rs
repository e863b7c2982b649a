//! Find specs and return maps.

use super::super::ast::{Aggregate, FindElement, InputForm, KeyKind, Keys, PullPattern, Shape};
use super::{Parser, error, is_source};
use crate::edn::Edn;
use crate::pull;
use crate::text::brief;
use crate::text::near_names;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// An aggregate: its name, and what it is of a column, and of a number and a column.
type Named = (&'static str, Option<Aggregate>, Option<fn(usize) -> Aggregate>);

const AGGREGATES: [Named; 12] = [
    ("count", Some(Aggregate::Count), None),
    ("count-distinct", Some(Aggregate::CountDistinct), None),
    ("sum", Some(Aggregate::Sum), None),
    ("avg", Some(Aggregate::Avg), None),
    ("min", Some(Aggregate::Min), Some(Aggregate::MinN)),
    ("max", Some(Aggregate::Max), Some(Aggregate::MaxN)),
    ("median", Some(Aggregate::Median), None),
    ("variance", Some(Aggregate::Variance), None),
    ("stddev", Some(Aggregate::Stddev), None),
    ("distinct", Some(Aggregate::Distinct), None),
    ("rand", Some(Aggregate::Rand), Some(Aggregate::RandN)),
    ("sample", None, Some(Aggregate::Sample)),
];
const PULL: &str = "pull";

/// `(rand n ?x)` draws no more values, however few there are to draw from.
const DRAWS_MAX: usize = 1_000_000;

type Find = (Shape, Vec<FindElement>, Vec<String>);

impl Parser {
    pub(super) fn find(&mut self, forms: &[Edn], inputs: &[(InputForm, Edn)]) -> Result<Find> {
        let (shape, elements): (Shape, &[Edn]) = match forms {
            [Edn::Vector(parts)] => match parts.as_slice() {
                [element, dots] if is_symbol(dots, "...") => (Shape::Collection, std::slice::from_ref(element)),
                [] => return Err(error(":find [] names nothing to return")),
                elements => (Shape::Tuple, elements),
            },
            [element, dot] if is_symbol(dot, ".") => (Shape::Scalar, std::slice::from_ref(element)),
            elements => (Shape::Relation, elements),
        };
        let mut find = Vec::with_capacity(elements.len());
        for element in elements {
            find.push(self.find_element(element, inputs)?);
        }
        Ok((shape, find, elements.iter().map(Edn::to_string).collect()))
    }

    fn find_element(&mut self, form: &Edn, inputs: &[(InputForm, Edn)]) -> Result<FindElement> {
        let Edn::List(parts) = form else {
            return Ok(FindElement::Var(self.known_var(form, ":find")?));
        };
        let Some((Edn::Symbol(name), args)) = parts.split_first() else {
            return Err(error(format!("{} in :find is neither a pull nor an aggregate", brief(form))));
        };
        if name.as_str() == PULL {
            return self.pull(form, args, inputs);
        }
        let aggregate = aggregate(name.as_str(), args, form)?;
        let var = args.last().expect("an aggregate has an argument");
        Ok(FindElement::Aggregate { aggregate, var: self.known_var(var, name.as_str())? })
    }

    fn pull(&mut self, form: &Edn, args: &[Edn], inputs: &[(InputForm, Edn)]) -> Result<FindElement> {
        let (source, args) = match args.split_first() {
            Some((Edn::Symbol(symbol), rest)) if is_source(symbol.as_str()) => {
                (Some(self.source(symbol.as_str())?), rest)
            }
            _ => (None, args),
        };
        let [var, pattern] = args else {
            return Err(error(format!(
                "{} is no pull; write (pull ?e pattern) or (pull $src ?e pattern)",
                brief(form)
            )));
        };
        let var = self.known_var(var, "pull")?;
        let pattern = match pattern {
            Edn::Symbol(name) => {
                let at = inputs.iter().position(|(input, form)| {
                    matches!(input, InputForm::Pattern) && matches!(form, Edn::Symbol(other) if other == name)
                });
                PullPattern::Input(at.ok_or_else(|| {
                    error(format!(
                        "the pull pattern {name} is not among the inputs; name it in :in or write the pattern"
                    ))
                })?)
            }
            other => PullPattern::Form(pull::Pattern::parse(other)?),
        };
        Ok(FindElement::Pull { source, var, pattern })
    }
}

fn aggregate(name: &str, args: &[Edn], form: &Edn) -> Result<Aggregate> {
    let Some((_, plain, numbered)) = AGGREGATES.iter().find(|(known, ..)| *known == name) else {
        let known = || AGGREGATES.iter().map(|(known, ..)| *known);
        let (all, near) = (known().collect::<Vec<_>>().join(", "), near_names(name, known()));
        let message = format!("{name} is no aggregate; there are {all}{near}");
        return Err(Error::incorrect("db.error/unknown-aggregate", message));
    };
    match (args, plain, numbered) {
        ([_], Some(plain), _) => Ok(*plain),
        ([n, _], _, Some(numbered)) => {
            let n = match n {
                Edn::Long(n) => usize::try_from(*n).ok(),
                _ => None,
            };
            let n =
                n.ok_or_else(|| error(format!("{} takes a number of values, such as ({name} 3 ?x)", brief(form))))?;
            match numbered(n) {
                Aggregate::RandN(n) if n > DRAWS_MAX => {
                    Err(error(format!("{} draws more than {DRAWS_MAX} values; ask for fewer", brief(form))))
                }
                aggregate => Ok(aggregate),
            }
        }
        _ => Err(error(format!("{} has the wrong number of arguments", brief(form)))),
    }
}

/// What may be called in `:find`.
pub(crate) fn callable_names() -> impl Iterator<Item = &'static str> {
    AGGREGATES.iter().map(|(name, ..)| *name).chain([PULL])
}

/// The return map that `:keys`, `:strs` or `:syms` asks for.
pub(super) fn keys(sections: &BTreeMap<&str, Vec<Edn>>, shape: Shape, width: usize) -> Result<Option<Keys>> {
    let mut keys = None;
    for (section, kind) in [("keys", KeyKind::Keyword), ("strs", KeyKind::String), ("syms", KeyKind::Symbol)] {
        let Some(forms) = sections.get(section) else { continue };
        if keys.is_some() {
            return Err(error("only one of :keys, :strs and :syms can be given"));
        }
        if matches!(shape, Shape::Collection | Shape::Scalar) {
            return Err(error(format!(":{section} goes with a relation or a tuple in :find")));
        }
        let names = forms
            .iter()
            .map(|form| match form {
                Edn::Symbol(symbol) => Ok(symbol.as_str().to_string()),
                other => Err(error(format!(":{section} takes symbols, not {}", brief(other)))),
            })
            .collect::<Result<Vec<String>>>()?;
        if names.len() != width {
            return Err(error(format!(
                ":{section} names {} columns but :find has {width}; give one name for each",
                names.len()
            )));
        }
        keys = Some(Keys { kind, names });
    }
    Ok(keys)
}

fn is_symbol(form: &Edn, name: &str) -> bool {
    matches!(form, Edn::Symbol(symbol) if symbol.as_str() == name)
}
