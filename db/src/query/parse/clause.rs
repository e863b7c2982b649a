//! Clauses.

use super::super::ast::{Arg, Call, Clause, Kind, SourceId, Term, Var, VarSet};
use super::super::constant::value_of;
use super::super::functions;
use super::{CLAUSES_MAX, DEPTH_MAX, Parser, error, in_order, is_source, is_var};
use crate::edn::Edn;
use crate::model::Symbol;
use crate::text::brief;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// What begins a clause in round brackets that is no call of a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connective {
    And,
    Not,
    NotJoin,
    Or,
    OrJoin,
}

const CONNECTIVES: [(&str, Connective); 5] = [
    ("and", Connective::And),
    ("not", Connective::Not),
    ("not-join", Connective::NotJoin),
    ("or", Connective::Or),
    ("or-join", Connective::OrJoin),
];

impl Connective {
    fn named(name: &Symbol) -> Option<Connective> {
        CONNECTIVES.iter().find(|(known, _)| *known == name.as_str()).map(|(_, connective)| *connective)
    }
}

pub(crate) fn connective_names() -> impl Iterator<Item = &'static str> {
    CONNECTIVES.iter().map(|(name, _)| *name)
}

impl Parser {
    /// The clauses of a conjunction, `and` dissolved, in the order of their forms.
    pub(super) fn conjunction(&mut self, forms: &[Edn], depth: usize) -> Result<Vec<Clause>> {
        let mut clauses = Vec::with_capacity(forms.len());
        self.clauses_into(forms, depth, &mut clauses)?;
        Ok(in_order(clauses))
    }

    fn clauses_into(&mut self, forms: &[Edn], depth: usize, clauses: &mut Vec<Clause>) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(error(format!("clauses nest deeper than {DEPTH_MAX} levels")));
        }
        for form in forms {
            self.clauses += 1;
            if self.clauses > CLAUSES_MAX {
                return Err(error(format!("a query has at most {CLAUSES_MAX} clauses")));
            }
            match form {
                Edn::List(parts) if is_and(parts) => {
                    if parts.len() < 2 {
                        return Err(error("(and) holds no clause"));
                    }
                    self.clauses_into(&parts[1..], depth + 1, clauses)?;
                }
                _ => clauses.push(self.clause(form, depth).map_err(|error| {
                    match error.code() {
                        // The innermost clause names itself; those around it would only repeat it.
                        _ if error.details().iter().any(|(key, _)| key == "clause") => error,
                        _ => Error::new(
                            error.category(),
                            error.code().to_string(),
                            format!("{}, in the clause {}", error.message(), brief(form)),
                        )
                        .with("clause", form.clone()),
                    }
                })?),
            }
        }
        Ok(())
    }

    fn clause(&mut self, form: &Edn, depth: usize) -> Result<Clause> {
        let kind = match form {
            Edn::Vector(parts) => match parts.as_slice() {
                [Edn::List(call)] => self.call(call, None)?,
                [Edn::List(call), binding] => self.call(call, Some(binding))?,
                [Edn::List(_), ..] => {
                    return Err(error("a function clause is [(function arg …) binding], with one binding"));
                }
                _ => self.pattern(parts)?,
            },
            Edn::List(parts) => self.compound(parts, depth)?,
            other => return Err(error(format!("{} is no clause; clauses are vectors and lists", brief(other)))),
        };
        let (vars, binds) = mentioned(&kind);
        Ok(Clause { kind, form: form.clone(), vars, binds })
    }

    fn pattern(&mut self, parts: &[Edn]) -> Result<Kind> {
        let (source, slots) = match parts.split_first() {
            Some((Edn::Symbol(symbol), rest)) if is_source(symbol.as_str()) => {
                (Some(self.source(symbol.as_str())?), rest)
            }
            _ => (None, parts),
        };
        if slots.is_empty() {
            return Err(error("an empty data pattern; give at least an entity"));
        }
        let terms = slots.iter().map(|slot| self.term(slot)).collect::<Result<_>>()?;
        Ok(Kind::Pattern { source, terms })
    }

    fn term(&mut self, form: &Edn) -> Result<Term> {
        Ok(match form {
            Edn::Symbol(symbol) if symbol.as_str() == "_" => Term::Blank,
            Edn::Symbol(symbol) if is_var(symbol.as_str()) => Term::Var(self.var(symbol.as_str())?),
            Edn::Symbol(symbol) if is_source(symbol.as_str()) || symbol.as_str() == "%" => {
                return Err(error(format!("{symbol} can only stand first in a clause")));
            }
            other => Term::Const(
                value_of(other)?.ok_or_else(|| error("nil is no value: no datom has it; use missing? or not"))?,
            ),
        })
    }

    fn call(&mut self, parts: &[Edn], binding: Option<&Edn>) -> Result<Kind> {
        let Some((Edn::Symbol(name), args)) = parts.split_first() else {
            return Err(error("a call is (function arg …), and its function is a symbol"));
        };
        let function = functions::find(name.as_str())?;
        function.check_arity(args.len())?;
        let args = args.iter().map(|arg| self.arg(arg)).collect::<Result<_>>()?;
        let binding = binding.map(|binding| self.binding(binding)).transpose()?;
        Ok(Kind::Call(Call { function, args, binding }))
    }

    fn arg(&mut self, form: &Edn) -> Result<Arg> {
        Ok(match form {
            Edn::Symbol(symbol) if is_var(symbol.as_str()) => Arg::Var(self.var(symbol.as_str())?),
            Edn::Symbol(symbol) if is_source(symbol.as_str()) => Arg::Source(self.source(symbol.as_str())?),
            Edn::Symbol(symbol) if symbol.as_str() == "_" => {
                return Err(error("_ is no argument; give a variable or a constant"));
            }
            Edn::List(_) => {
                return Err(error(format!(
                    "calls do not nest: give {} a clause of its own that binds a variable",
                    brief(form)
                )));
            }
            other => value_of(other)?.map_or(Arg::Nil, Arg::Const),
        })
    }

    /// A clause in round brackets: a connective or a rule call, with an optional source in front.
    fn compound(&mut self, parts: &[Edn], depth: usize) -> Result<Kind> {
        let (source, parts) = match parts.split_first() {
            Some((Edn::Symbol(symbol), rest)) if is_source(symbol.as_str()) => {
                (Some(self.source(symbol.as_str())?), rest)
            }
            _ => (None, parts),
        };
        let Some((Edn::Symbol(name), rest)) = parts.split_first() else {
            return Err(error("a clause in round brackets begins with not, or, and, or the name of a rule"));
        };
        match Connective::named(name) {
            Some(Connective::Not) => self.not(source, None, rest, depth),
            Some(Connective::NotJoin) => {
                let (vars, clauses) = joined(rest, "not-join")?;
                self.not(source, Some(vars), clauses, depth)
            }
            Some(Connective::Or) => self.or(source, rest, depth),
            Some(Connective::OrJoin) => self.or_join(source, rest, depth),
            Some(Connective::And) => Err(error("and takes no source; put the source in front of its clauses")),
            None => {
                if rest.is_empty() {
                    return Err(error(format!("the rule call ({name}) has no arguments")));
                }
                let args = rest.iter().map(|arg| self.term(arg)).collect::<Result<_>>()?;
                Ok(Kind::Rule { source, name: name.clone(), args })
            }
        }
    }

    fn not(&mut self, source: Option<SourceId>, join: Option<&[Edn]>, forms: &[Edn], depth: usize) -> Result<Kind> {
        if forms.is_empty() {
            return Err(error("not holds no clause"));
        }
        let Some(join) = join else {
            let clauses = self.conjunction(forms, depth + 1)?;
            return Ok(Kind::Not { source, join: None, clauses });
        };
        let join = join.iter().map(|var| self.known_var(var, "not-join")).collect::<Result<Vec<Var>>>()?;
        self.enter(&join);
        let clauses = self.conjunction(forms, depth + 1);
        self.scopes.pop();
        Ok(Kind::Not { source, join: Some(join), clauses: clauses? })
    }

    fn or(&mut self, source: Option<SourceId>, forms: &[Edn], depth: usize) -> Result<Kind> {
        if forms.is_empty() {
            return Err(error("or holds no clause"));
        }
        let branches: Vec<Vec<Clause>> =
            forms.iter().map(|form| self.conjunction(std::slice::from_ref(form), depth + 1)).collect::<Result<_>>()?;
        let (sets, all): (Vec<VarSet>, Vec<VarSet>) =
            branches.iter().map(|branch| (used(branch), used_with_nots(branch))).unzip();
        let mut vars = VarSet::default();
        sets.iter().for_each(|set| vars.extend(set));
        for (set, form) in all.iter().zip(forms) {
            if let Some(var) = vars.iter().find(|var| !set.contains(*var)) {
                return Err(error(format!(
                    "all branches of or use the same variables, but {} does not use {}; use or-join to name those that \
                     join",
                    brief(form),
                    self.names[var.0 as usize]
                )));
            }
        }
        if vars.is_empty() {
            // Nothing but nots: they join on what all of them mention.
            vars = all.iter().skip(1).fold(all[0].clone(), |shared, set| shared.intersection(set));
        }
        Ok(Kind::Or { source, vars: vars.iter().collect(), required: Vec::new(), branches })
    }

    fn or_join(&mut self, source: Option<SourceId>, rest: &[Edn], depth: usize) -> Result<Kind> {
        let (vars, forms) = joined(rest, "or-join")?;
        let (required, free) = match vars.split_first() {
            Some((Edn::Vector(required), free)) => (required.as_slice(), free),
            _ => (&[][..], vars),
        };
        let required = required.iter().map(|var| self.known_var(var, "or-join")).collect::<Result<Vec<Var>>>()?;
        let free = free.iter().map(|var| self.known_var(var, "or-join")).collect::<Result<Vec<Var>>>()?;
        let vars: Vec<Var> = required.iter().chain(&free).copied().collect();
        let mut branches = Vec::with_capacity(forms.len());
        for form in forms {
            // Each branch has its own scope: what it does not share stays its own.
            self.enter(&vars);
            let branch = self.conjunction(std::slice::from_ref(form), depth + 1);
            self.scopes.pop();
            let branch = branch?;
            let used = used(&branch);
            if let Some(var) = vars.iter().find(|var| !used.contains(**var)) {
                return Err(error(format!(
                    "{} is listed by or-join but not used in its branch {}",
                    self.names[var.0 as usize],
                    brief(form)
                )));
            }
            branches.push(branch);
        }
        Ok(Kind::Or { source, vars, required, branches })
    }

    /// Opens a scope in which only these variables of the present one are known.
    pub(super) fn enter(&mut self, vars: &[Var]) {
        let scope: BTreeMap<String, Var> = vars.iter().map(|var| (self.names[var.0 as usize].clone(), *var)).collect();
        self.scopes.push(scope);
    }
}

fn is_and(parts: &[Edn]) -> bool {
    matches!(parts.first(), Some(Edn::Symbol(name)) if Connective::named(name) == Some(Connective::And))
}

/// The variable list of a `-join` clause and its clauses.
fn joined<'a>(rest: &'a [Edn], name: &str) -> Result<(&'a [Edn], &'a [Edn])> {
    match rest.split_first() {
        Some((Edn::Vector(vars), clauses)) if !vars.is_empty() && !clauses.is_empty() => Ok((vars, clauses)),
        _ => Err(error(format!("{name} takes a vector of the variables that join, and at least one clause"))),
    }
}

/// The variables a branch of `or` uses: those inside its `not`s only do not count.
fn used(clauses: &[Clause]) -> VarSet {
    let mut vars = VarSet::default();
    for clause in clauses {
        if !matches!(clause.kind, Kind::Not { join: None, .. }) {
            vars.extend(&clause.vars);
        }
    }
    vars
}

fn used_with_nots(clauses: &[Clause]) -> VarSet {
    let mut vars = VarSet::default();
    clauses.iter().for_each(|clause| vars.extend(&clause.vars));
    vars
}

/// The variables of the enclosing scope a clause mentions, and those it can bind.
fn mentioned(kind: &Kind) -> (VarSet, VarSet) {
    match kind {
        Kind::Pattern { terms, .. } | Kind::Rule { args: terms, .. } => {
            let vars: VarSet = terms.iter().filter_map(Term::var).collect();
            (vars.clone(), vars)
        }
        Kind::Call(call) => {
            let binds: VarSet = call.binding.iter().flat_map(|binding| binding.vars()).collect();
            let mut vars = binds.clone();
            for arg in &call.args {
                if let Arg::Var(var) = arg {
                    vars.insert(*var);
                }
            }
            (vars, binds)
        }
        Kind::Not { join: Some(join), .. } => (join.iter().copied().collect(), VarSet::default()),
        Kind::Not { join: None, clauses, .. } => {
            let mut vars = VarSet::default();
            clauses.iter().for_each(|clause| vars.extend(&clause.vars));
            (vars, VarSet::default())
        }
        Kind::Or { vars, required, branches, .. } => {
            let mut mentioned: VarSet = vars.iter().copied().collect();
            // A plain `or` shares its scope, and so the variables inside its `not`s.
            if required.is_empty() && shares_scope(vars, branches) {
                branches.iter().flatten().for_each(|clause| mentioned.extend(&clause.vars));
            }
            let mut binds = VarSet::default();
            branches.iter().flatten().for_each(|clause| binds.extend(&clause.binds));
            (mentioned.clone(), binds.intersection(&vars.iter().copied().collect()))
        }
    }
}

/// Whether the branches of an `or` see the enclosing scope: those of an `or-join` have variables of their own,
/// which must not be taken for the enclosing one's.
fn shares_scope(vars: &[Var], branches: &[Vec<Clause>]) -> bool {
    branches.iter().all(|branch| used(branch).iter().all(|var| vars.contains(&var)))
}
