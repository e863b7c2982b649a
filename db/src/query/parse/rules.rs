//! Rules: `[[(name [?required …] ?free …) clause …] …]`.

use super::super::ast::{Branch, Rule, Var};
use super::{Parser, error, is_var};
use crate::Result;
use crate::edn::Edn;
use crate::model::Symbol;
use crate::text::brief;
use std::collections::BTreeMap;

/// Rule branches in one rule set.
const BRANCHES_MAX: usize = 1024;

/// Parses a rule set; its clauses may name the query's sources.
pub(crate) fn parse_rules(form: &Edn, sources: &[String]) -> Result<BTreeMap<Symbol, Rule>> {
    let branches = form
        .as_sequence()
        .ok_or_else(|| error(format!("rules are a vector of [(name ?x …) clause …], not {}", brief(form))))?;
    if branches.len() > BRANCHES_MAX {
        return Err(error(format!("a rule set has at most {BRANCHES_MAX} branches")));
    }
    let mut rules: BTreeMap<Symbol, Rule> = BTreeMap::new();
    for form in branches {
        let (name, required, branch) = parse_branch(form, sources).map_err(|error| {
            crate::Error::new(
                error.category(),
                error.code().to_string(),
                format!("{}, in the rule {}", error.message(), brief(form)),
            )
        })?;
        match rules.get_mut(&name) {
            None => {
                rules.insert(name.clone(), Rule { name, required, branches: vec![branch] });
            }
            Some(rule) if rule.arity() != branch.params.len() || rule.required != required => {
                return Err(error(format!(
                    "the branches of the rule {name} differ in their parameters; give each the same number, and the same \
                     number of required ones: {}",
                    brief(form)
                )));
            }
            Some(rule) => rule.branches.push(branch),
        }
    }
    Ok(rules)
}

fn parse_branch(form: &Edn, sources: &[String]) -> Result<(Symbol, usize, Branch)> {
    let parts = form.as_sequence().unwrap_or_default();
    let Some((head, clauses)) = parts.split_first() else {
        return Err(error("a rule is a vector of a head and clauses"));
    };
    let Some((Edn::Symbol(name), params)) = head.as_sequence().and_then(<[Edn]>::split_first) else {
        return Err(error(format!("the head of a rule is (name ?x …), not {}", brief(head))));
    };
    if is_var(name.as_str()) || ["not", "not-join", "or", "or-join", "and"].contains(&name.as_str()) {
        return Err(error(format!("{name} cannot name a rule")));
    }
    if clauses.is_empty() {
        return Err(error(format!("the rule {name} has a head but no clauses")));
    }
    let mut parser = Parser::with_sources(sources);
    let (required, free) = match params.split_first() {
        Some((Edn::Vector(required), free)) => (required.as_slice(), free),
        _ => (&[][..], params),
    };
    let mut vars: Vec<Var> = Vec::new();
    for param in required.iter().chain(free) {
        let var = parser.known_var(param, "the head of a rule")?;
        if vars.contains(&var) {
            return Err(error(format!("{} stands twice in the head of the rule {name}", brief(param))));
        }
        vars.push(var);
    }
    if vars.is_empty() {
        return Err(error(format!("the rule {name} has no parameters")));
    }
    let clauses = parser.conjunction(clauses, 0)?;
    let branch = Branch { params: vars, clauses, names: parser.names, form: form.clone() };
    Ok((name.clone(), required.len(), branch))
}
