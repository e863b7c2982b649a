//! What is known of rules before a query runs: which call each other in circles, which parameters a call must
//! bind, which stand for entities.

mod fixpoint;
mod program;
mod table;

use super::ast::{Branch, Clause, Kind, Rule, SourceId, Term, Var, VarSet};
use super::execute::{Readiness, Scope, Source, check_order, entity_vars};
use crate::model::Symbol;
use crate::text::brief;
use crate::text::near_names;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Facts about a rule set, used with the sources of one query.
pub(crate) struct RuleFacts {
    rules: BTreeMap<Symbol, Facts>,
    entity_params: BTreeMap<(Symbol, Option<SourceId>), Vec<Option<SourceId>>>,
    /// The scopes of the branches of each rule that the query reaches, by the source it is used with.
    scopes: BTreeMap<(Symbol, Option<SourceId>), Vec<Scope>>,
}

#[derive(Default)]
struct Facts {
    /// Rules that call each other in a circle have one number; a rule that does not come back to itself has none.
    circle: Option<usize>,
    must_bind: Vec<bool>,
}

impl RuleFacts {
    pub(crate) fn is_recursive(&self, name: &Symbol) -> bool {
        self.rules[name].circle.is_some()
    }

    /// Whether two rules call each other in a circle.
    pub(crate) fn same_circle(&self, a: &Symbol, b: &Symbol) -> bool {
        let circle = |name: &Symbol| self.rules.get(name).and_then(|facts| facts.circle);
        circle(a).is_some() && circle(a) == circle(b)
    }

    /// By parameter: whether a call must bind it, because it is required or no clause can bind it.
    pub(crate) fn must_bind(&self, name: &Symbol) -> &[bool] {
        self.rules.get(name).map_or(&[], |facts| &facts.must_bind)
    }

    /// The database of which a parameter is an entity in every answer, where the rule is used with a source. What
    /// stands for an entity in a `not` alone, or in some branches, is none of these: it may be anything else besides.
    pub(crate) fn entity_param(&self, name: &Symbol, param: usize, source: Option<SourceId>) -> Option<SourceId> {
        self.entity_params.get(&(name.clone(), source))?.get(param).copied().flatten()
    }

    /// What the branches that the query reaches have to warn of.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &String> {
        self.scopes.values().flatten().flat_map(Scope::warnings)
    }

    pub(crate) fn scopes(&self, name: &Symbol, source: Option<SourceId>) -> &[Scope] {
        self.scopes.get(&(name.clone(), source)).map_or(&[], Vec::as_slice)
    }

    /// Looks at a rule set and checks all that the clauses of a query can reach of it.
    pub(crate) fn new(
        rules: &BTreeMap<Symbol, Rule>,
        sources: &[Source],
        default: Option<SourceId>,
        clauses: &[Clause],
        allow_full_scan: bool,
    ) -> Result<RuleFacts> {
        let mut facts = RuleFacts { rules: BTreeMap::new(), entity_params: BTreeMap::new(), scopes: BTreeMap::new() };
        if !rules.is_empty() {
            facts.find_circles(rules);
        }
        let reached = reach(rules, default, clauses)?;
        facts.check_nesting(rules, clauses)?;
        facts.find_entity_params(rules, sources, &reached)?;
        facts.find_must_bind(rules, sources, &reached, allow_full_scan);
        for (name, source) in &reached {
            let mut scopes = Vec::new();
            for branch in &rules[name].branches {
                scopes.push(facts.check_branch(name, branch, sources, *source, allow_full_scan)?);
            }
            facts.scopes.insert((name.clone(), *source), scopes);
        }
        Ok(facts)
    }

    fn find_circles(&mut self, rules: &BTreeMap<Symbol, Rule>) {
        let mut called: BTreeMap<&Symbol, BTreeSet<&Symbol>> = BTreeMap::new();
        for (name, rule) in rules {
            let own = called.entry(name).or_default();
            for branch in &rule.branches {
                calls(&branch.clauses, &mut |call, _, _| {
                    own.extend(rules.get_key_value(call).map(|(name, _)| name));
                });
            }
        }
        let mut reaches: BTreeMap<&Symbol, BTreeSet<&Symbol>> = BTreeMap::new();
        for name in rules.keys() {
            let mut reached: BTreeSet<&Symbol> = BTreeSet::new();
            let mut open: Vec<&Symbol> = vec![name];
            while let Some(next) = open.pop() {
                open.extend(called[next].iter().filter(|called| reached.insert(called)));
            }
            reaches.insert(name, reached);
        }
        for (i, (name, rule)) in rules.iter().enumerate() {
            let circle = reaches[name].contains(name).then(|| {
                // The first name of the circle numbers it.
                let others = rules
                    .keys()
                    .enumerate()
                    .find(|(_, other)| reaches[name].contains(other) && reaches[other].contains(name));
                others.map_or(i, |(at, _)| at)
            });
            let must_bind = (0..rule.arity()).map(|param| param < rule.required).collect();
            self.rules.insert(name.clone(), Facts { circle, must_bind });
        }
    }

    /// Bounds how deep clauses and calls of rules nest: each level takes some of the stack. A circle of rules is
    /// one level, since it is run by rounds.
    fn check_nesting(&self, rules: &BTreeMap<Symbol, Rule>, clauses: &[Clause]) -> Result<()> {
        let mut levels: BTreeMap<&Symbol, usize> = rules.keys().map(|name| (name, 1)).collect();
        loop {
            let mut grown = false;
            for (name, rule) in rules {
                let below = rule.branches.iter().map(|branch| self.levels(Some(name), &branch.clauses, &levels)).max();
                let below = 1 + below.unwrap_or(0);
                if below > NESTING_MAX {
                    return Err(too_deep(name.as_str()));
                }
                if below > levels[name] {
                    levels.insert(name, below);
                    grown = true;
                }
            }
            if !grown {
                break;
            }
        }
        if self.levels(None, clauses, &levels) > NESTING_MAX {
            return Err(too_deep(":where"));
        }
        Ok(())
    }

    fn levels(&self, within: Option<&Symbol>, clauses: &[Clause], levels: &BTreeMap<&Symbol, usize>) -> usize {
        let level = |clause: &Clause| match &clause.kind {
            Kind::Pattern { .. } | Kind::Call(_) => 0,
            Kind::Not { clauses, .. } => 1 + self.levels(within, clauses, levels),
            Kind::Or { branches, .. } => {
                1 + branches.iter().map(|branch| self.levels(within, branch, levels)).max().unwrap_or(0)
            }
            Kind::Rule { name, .. } if within.is_some_and(|within| self.same_circle(within, name)) => 0,
            Kind::Rule { name, .. } => levels.get(name).copied().unwrap_or(0),
        };
        clauses.iter().map(level).max().unwrap_or(0)
    }

    fn find_entity_params(
        &mut self,
        rules: &BTreeMap<Symbol, Rule>,
        sources: &[Source],
        reached: &BTreeSet<(Symbol, Option<SourceId>)>,
    ) -> Result<()> {
        for (name, source) in reached {
            self.entity_params.insert((name.clone(), *source), vec![None; rules[name].arity()]);
        }
        loop {
            let mut grown = false;
            for (name, source) in reached {
                for branch in &rules[name].branches {
                    let mut found: Vec<(Var, SourceId)> = Vec::new();
                    self.entity_vars(sources, *source, &branch.clauses, &mut found);
                    let params = self.entity_params.get_mut(&(name.clone(), *source)).expect("inserted above");
                    for (var, at) in found {
                        if let Some(i) = branch.params.iter().position(|param| *param == var)
                            && params[i].is_none()
                        {
                            params[i] = Some(at);
                            grown = true;
                        }
                    }
                }
            }
            if !grown {
                break;
            }
        }
        // An answer rests on answers made before it; so what holds for all branches if it holds for the rules that they
        // call, holds for all answers.
        while self.drop_exceptions(rules, sources, reached) {}
        Ok(())
    }

    /// Leaves out parameters that need not be entities in some branch. False when there are none left.
    fn drop_exceptions(
        &mut self,
        rules: &BTreeMap<Symbol, Rule>,
        sources: &[Source],
        reached: &BTreeSet<(Symbol, Option<SourceId>)>,
    ) -> bool {
        let mut found = false;
        for (name, source) in reached {
            for branch in &rules[name].branches {
                let always = self.entities_always(sources, *source, &branch.clauses);
                let params = self.entity_params.get_mut(&(name.clone(), *source)).expect("of a rule that is reached");
                for (param, var) in params.iter_mut().zip(&branch.params) {
                    if param.is_some() && !always.contains(*var) {
                        *param = None;
                        found = true;
                    }
                }
            }
        }
        found
    }

    /// The variables that are entities in everything that the clauses find together.
    pub(crate) fn entities_always(&self, sources: &[Source], default: Option<SourceId>, clauses: &[Clause]) -> VarSet {
        let mut always = VarSet::default();
        for clause in clauses {
            match &clause.kind {
                Kind::Pattern { source, terms } => {
                    if let Some(Source::Db(db)) = source.or(default).map(|source| &sources[source.0]) {
                        entity_vars(db, terms).for_each(|var| always.insert(var));
                    }
                }
                // What a `not` asks for is not there.
                Kind::Call(_) | Kind::Not { .. } => {}
                Kind::Or { source, branches, .. } => {
                    let branches = branches.iter();
                    let branches = branches.map(|branch| self.entities_always(sources, source.or(default), branch));
                    if let Some(in_all) = branches.reduce(|all, branch| all.intersection(&branch)) {
                        always.extend(&in_all);
                    }
                }
                Kind::Rule { source, name, args } => {
                    for (i, arg) in args.iter().enumerate() {
                        if let (Term::Var(var), Some(_)) = (arg, self.entity_param(name, i, source.or(default))) {
                            always.insert(*var);
                        }
                    }
                }
            }
        }
        always
    }

    fn entity_vars(
        &self,
        sources: &[Source],
        default: Option<SourceId>,
        clauses: &[Clause],
        found: &mut Vec<(Var, SourceId)>,
    ) {
        for clause in clauses {
            match &clause.kind {
                Kind::Pattern { source, terms } => {
                    if let Some(source) = source.or(default)
                        && let Source::Db(db) = &sources[source.0]
                    {
                        found.extend(entity_vars(db, terms).map(|var| (var, source)));
                    }
                }
                Kind::Call(_) => {}
                Kind::Not { source, clauses, .. } => self.entity_vars(sources, source.or(default), clauses, found),
                Kind::Or { source, branches, .. } => {
                    branches.iter().for_each(|branch| self.entity_vars(sources, source.or(default), branch, found));
                }
                Kind::Rule { source, name, args } => {
                    for (i, arg) in args.iter().enumerate() {
                        if let (Term::Var(var), Some(at)) = (arg, self.entity_param(name, i, source.or(default))) {
                            found.push((*var, at));
                        }
                    }
                }
            }
        }
    }

    /// Parameters that some branch can neither bind nor do without: found by trying, until nothing is added.
    fn find_must_bind(
        &mut self,
        rules: &BTreeMap<Symbol, Rule>,
        sources: &[Source],
        reached: &BTreeSet<(Symbol, Option<SourceId>)>,
        allow_full_scan: bool,
    ) {
        loop {
            let mut added: Vec<(Symbol, usize)> = Vec::new();
            for (name, source) in reached {
                for branch in &rules[name].branches {
                    let readiness = Readiness { sources, facts: self, allow_full_scan };
                    let mut must = self.rules[name].must_bind.clone();
                    while let Some(param) = next_unbound(&readiness, *source, branch, &must) {
                        must[param] = true;
                        added.push((name.clone(), param));
                    }
                }
            }
            if added.is_empty() {
                return;
            }
            for (name, param) in added {
                self.rules.get_mut(&name).expect("reached rules are known").must_bind[param] = true;
            }
        }
    }

    fn check_branch(
        &self,
        name: &Symbol,
        branch: &Branch,
        sources: &[Source],
        source: Option<SourceId>,
        allow_full_scan: bool,
    ) -> Result<Scope> {
        let inputs = VarSet::default();
        let mut scope = Scope::new(sources, self, &branch.names, source, &branch.clauses, &inputs)
            .map_err(|error| in_rule(error, branch))?;
        for (i, param) in branch.params.iter().enumerate() {
            // Those that are always entities are resolved before the branch is run.
            if self.entity_param(name, i, source).is_none() {
                scope.may_come_unresolved(*param);
            }
        }
        let given: VarSet = branch
            .params
            .iter()
            .zip(self.must_bind(name))
            .filter(|(_, must)| **must)
            .map(|(param, _)| *param)
            .collect();
        let readiness = Readiness { sources, facts: self, allow_full_scan };
        check_order(&readiness, &scope, source, &branch.clauses, &given).map_err(|error| in_rule(error, branch))?;
        let mut negated = None;
        negated_calls(&branch.clauses, false, &mut |called| {
            if self.same_circle(name, called) {
                negated = Some(called.clone());
            }
        });
        if let Some(called) = negated {
            return Err(Error::incorrect(
                "db.error/invalid-rule",
                format!(
                    "the rule {name} comes back to itself through a not around {called}; such a rule has no least \
                     fixpoint: {}",
                    brief(&branch.form)
                ),
            ));
        }
        Ok(scope)
    }
}

/// A parameter that the branch waits for where only `must` are bound.
fn next_unbound(readiness: &Readiness<'_>, source: Option<SourceId>, branch: &Branch, must: &[bool]) -> Option<usize> {
    let given: VarSet = branch.params.iter().zip(must).filter(|(_, must)| **must).map(|(param, _)| *param).collect();
    let (bound, waiting) = readiness.order(source, &branch.clauses, &given);
    let position = |var: &Var| branch.params.iter().position(|param| param == var && !given.contains(*var));
    // What clauses ask for first; then what they mention; then what nothing binds.
    waiting
        .iter()
        .flat_map(|(_, vars)| vars.iter())
        .find_map(position)
        .or_else(|| waiting.iter().flat_map(|(clause, _)| clause.vars.iter()).find_map(|var| position(&var)))
        .or_else(|| branch.params.iter().find(|param| !bound.contains(**param)).and_then(position))
}

/// Clauses and calls of rules nest no deeper, together.
const NESTING_MAX: usize = 64;

fn too_deep(place: &str) -> Error {
    Error::incorrect(
        "db.error/invalid-query",
        format!("the clauses and rules of {place} nest deeper than {NESTING_MAX} levels"),
    )
}

fn in_rule(error: Error, branch: &Branch) -> Error {
    let message = format!("{}, in the rule {}", error.message(), brief(&branch.form));
    Error::new(error.category(), error.code().to_string(), message)
}

/// Calls `f` with each rule call below these clauses: its name, its own source, its arguments.
fn calls<'c>(clauses: &'c [Clause], f: &mut dyn FnMut(&'c Symbol, Option<SourceId>, &'c [Term])) {
    for clause in clauses {
        match &clause.kind {
            Kind::Rule { source, name, args } => f(name, *source, args),
            Kind::Not { source, clauses, .. } => calls(clauses, &mut |name, own, args| f(name, own.or(*source), args)),
            Kind::Or { source, branches, .. } => {
                branches.iter().for_each(|branch| calls(branch, &mut |name, own, args| f(name, own.or(*source), args)));
            }
            _ => {}
        }
    }
}

fn negated_calls(clauses: &[Clause], inside: bool, f: &mut dyn FnMut(&Symbol)) {
    for clause in clauses {
        match &clause.kind {
            Kind::Rule { name, .. } if inside => f(name),
            Kind::Not { clauses, .. } => negated_calls(clauses, true, f),
            Kind::Or { branches, .. } => branches.iter().for_each(|branch| negated_calls(branch, inside, f)),
            _ => {}
        }
    }
}

/// The rules that clauses call, directly or through others, with the source each is used with.
fn reach(
    rules: &BTreeMap<Symbol, Rule>,
    default: Option<SourceId>,
    clauses: &[Clause],
) -> Result<BTreeSet<(Symbol, Option<SourceId>)>> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<(&[Clause], Option<SourceId>)> = vec![(clauses, default)];
    while let Some((clauses, default)) = open.pop() {
        let mut problem = None;
        calls(clauses, &mut |name, own, args| {
            let source = own.or(default);
            match rules.get(name) {
                None => problem = problem.take().or(Some(unknown_rule(rules, name))),
                Some(rule) if rule.arity() != args.len() => {
                    let message = format!("the rule {name} takes {} arguments, not {}", rule.arity(), args.len());
                    problem = problem.take().or(Some(Error::incorrect("db.error/arity", message)));
                }
                Some(rule) => {
                    if reached.insert((name.clone(), source)) {
                        rule.branches.iter().for_each(|branch| open.push((&branch.clauses, source)));
                    }
                }
            }
        });
        if let Some(problem) = problem {
            return Err(problem);
        }
    }
    Ok(reached)
}

fn unknown_rule(rules: &BTreeMap<Symbol, Rule>, name: &Symbol) -> Error {
    let rest = if rules.is_empty() {
        "; the query has no rules: give them as the input % (a predicate stands in square brackets: [(pred ?x)])"
            .to_string()
    } else {
        near_names(name.as_str(), rules.keys().map(Symbol::as_str))
    };
    Error::incorrect("db.error/unknown-rule", format!("{name} is no rule{rest}"))
}
