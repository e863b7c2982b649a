//! Which clause comes next.

use super::super::ast::{Arg, Clause, Kind, SourceId, Term, Var, VarSet};
use super::super::functions::{Comparison, Op};
use super::super::rules::RuleFacts;
use super::access::{Access, Part};
use super::context::Context;
use super::resolve::Scope;
use super::{Place, Run, Source};
use crate::text::brief;
use crate::view::{Pattern, ValueRange};
use crate::{Error, Result};

/// What decides whether a clause can be worked in, apart from data.
pub(crate) struct Readiness<'a> {
    pub sources: &'a [Source],
    pub facts: &'a RuleFacts,
    pub allow_full_scan: bool,
}

impl Readiness<'_> {
    /// None where the clause can be worked in with these variables bound; else what it waits for. `bindable` are
    /// the variables that will be bound once all its neighbours are worked in.
    pub(crate) fn waits_for(
        &self,
        source: Option<SourceId>,
        clause: &Clause,
        bound: &VarSet,
        bindable: &VarSet,
    ) -> Option<Vec<Var>> {
        let unbound = |vars: &mut dyn Iterator<Item = Var>| -> Option<Vec<Var>> {
            let vars: Vec<Var> = vars.filter(|var| !bound.contains(*var)).collect();
            (!vars.is_empty()).then_some(vars)
        };
        match &clause.kind {
            Kind::Pattern { source: own, terms } => {
                let is_db = own.or(source).is_none_or(|source| matches!(self.sources[source.0], Source::Db(_)));
                let selective = |term: &Term| match term {
                    Term::Blank => false,
                    Term::Const(_) => true,
                    Term::Var(var) => bound.contains(*var),
                };
                if !is_db || self.allow_full_scan || terms.iter().take(4).any(selective) {
                    return None;
                }
                Some(terms.iter().take(3).filter_map(Term::var).collect())
            }
            Kind::Call(call) => unbound(&mut call.args.iter().filter_map(|arg| match arg {
                Arg::Var(var) => Some(*var),
                _ => None,
            })),
            Kind::Not { source: own, join, clauses } => {
                let needed = if join.is_some() { clause.vars.clone() } else { clause.vars.intersection(bindable) };
                if needed.is_empty() {
                    return Some(clause.vars.iter().collect());
                }
                unbound(&mut needed.iter()).or_else(|| self.block_waits_for(own.or(source), clauses, &needed))
            }
            Kind::Or { source: own, required, branches, .. } => {
                // What it only asks about must be known before, or its answer would hang on the order.
                let asked = clause.vars.iter().filter(|var| !clause.binds.contains(*var) && bindable.contains(*var));
                unbound(&mut required.iter().copied().chain(asked)).or_else(|| {
                    let given = clause.vars.intersection(bound);
                    branches.iter().find_map(|branch| {
                        let (bound, waiting) = self.order(own.or(source), branch, &given);
                        match waiting.into_iter().next() {
                            Some((_, vars)) => Some(vars),
                            // A branch that does not bind what the others do (it may stand in a `not` there) needs
                            // it from outside.
                            None => {
                                let missing: Vec<Var> =
                                    clause.binds.iter().filter(|var| !bound.contains(*var)).collect();
                                (!missing.is_empty()).then_some(missing)
                            }
                        }
                    })
                })
            }
            Kind::Rule { name, args, .. } => {
                let must = self.facts.must_bind(name);
                unbound(&mut args.iter().zip(must).filter(|(_, must)| **must).filter_map(|(arg, _)| arg.var()))
            }
        }
    }

    fn block_waits_for(&self, source: Option<SourceId>, clauses: &[Clause], given: &VarSet) -> Option<Vec<Var>> {
        let (_, waiting) = self.order(source, clauses, given);
        waiting.into_iter().next().map(|(_, vars)| vars)
    }

    /// Works clauses in as far as they go: what is bound in the end, and the clauses that still wait with what for.
    pub(crate) fn order<'c>(
        &self,
        source: Option<SourceId>,
        clauses: &'c [Clause],
        given: &VarSet,
    ) -> (VarSet, Vec<(&'c Clause, Vec<Var>)>) {
        let mut bindable = given.clone();
        clauses.iter().for_each(|clause| bindable.extend(&clause.binds));
        let mut bound = given.clone();
        let mut waiting: Vec<(&Clause, Vec<Var>)> = clauses.iter().map(|clause| (clause, Vec::new())).collect();
        loop {
            let before = waiting.len();
            waiting.retain_mut(|(clause, vars)| match self.waits_for(source, clause, &bound, &bindable) {
                None => {
                    bound.extend(&clause.binds);
                    false
                }
                Some(needed) => {
                    *vars = needed;
                    true
                }
            });
            if waiting.is_empty() || waiting.len() == before {
                return (bound, waiting);
            }
        }
    }
}

/// Refuses clauses that no order can work in, naming the clause and the variable.
pub(crate) fn check_order(
    readiness: &Readiness<'_>,
    scope: &Scope,
    source: Option<SourceId>,
    clauses: &[Clause],
    given: &VarSet,
) -> Result<()> {
    let (_, waiting) = readiness.order(source, clauses, given);
    let Some((clause, vars)) = waiting.into_iter().next() else { return Ok(()) };
    let names: Vec<&str> = vars.iter().map(|var| scope.name(*var)).collect();
    let text = brief(&clause.form);
    let message = match &clause.kind {
        Kind::Pattern { .. } => format!(
            "{text} would read the whole database: bind its entity, attribute or value, or allow a full scan with the \
             option allow-full-scan"
        ),
        Kind::Not { .. } if names.is_empty() => {
            format!("{text} shares no variable with the clauses around it; a not needs one that they bind")
        }
        Kind::Not { join: None, .. }
            if vars.iter().all(|var| !given.contains(*var)) && is_bound_nowhere(clauses, &vars) =>
        {
            format!("{text} needs at least one variable that a clause around it binds; {} is not", names.join(", "))
        }
        _ => format!("{} is not bound where {text} needs it; bind it in another clause or in :in", names.join(", ")),
    };
    Err(Error::incorrect("db.error/insufficient-binding", message).with("clause", clause.form.clone()))
}

fn is_bound_nowhere(clauses: &[Clause], vars: &[Var]) -> bool {
    vars.iter().all(|var| clauses.iter().all(|clause| !clause.binds.contains(*var)))
}

/// Rows a call of a recursive rule is taken to give where nothing bounds it.
const RECURSION_ROWS: f64 = 1e6;
/// Entities looked at to learn how many values they have.
const SAMPLE: usize = 8;
/// Clauses whose rows are estimated before one is chosen: of a longer query the first ones that join with what is
/// bound, so that planning costs no more than the square of this for each so many clauses.
const ESTIMATES_MAX: usize = 256;

impl Run<'_> {
    pub(crate) fn readiness(&self) -> Readiness<'_> {
        Readiness { sources: self.sources, facts: self.facts, allow_full_scan: self.options.allow_full_scan }
    }

    /// The place in `pending` of the clause to work in next: one that only removes rows at once, else the one
    /// expected to leave the fewest; and how many those are, where it was asked.
    pub(super) fn choose(
        &self,
        place: Place<'_>,
        pending: &[&Clause],
        context: &Context,
    ) -> Result<(usize, Option<f64>)> {
        if pending.len() == 1 {
            let told = self.recorder.map(|_| self.expected_rows(place, pending[0], pending, context));
            return Ok((0, told.transpose()?));
        }
        let bound = context.bound();
        let mut bindable = bound.clone();
        pending.iter().for_each(|clause| bindable.extend(&clause.binds));
        let readiness = self.readiness();
        let mut best: Option<(f64, usize)> = None;
        let mut order: Vec<usize> = (0..pending.len()).collect();
        if pending.len() > ESTIMATES_MAX {
            // Stable: the clauses' own order, which is that of their forms, decides among the rest.
            order.sort_by_key(|at| pending[*at].vars.intersection(&bound).is_empty());
        }
        let mut estimates = 0;
        for at in order {
            let clause = &pending[at];
            self.env.budget.step()?;
            if readiness.waits_for(place.source, clause, &bound, &bindable).is_some() {
                continue;
            }
            #[cfg(test)]
            if let Some(seed) = self.options.any_order {
                let mixed = (seed ^ (at as u64 * 31 + pending.len() as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let rank = (mixed >> 40) as f64;
                if best.is_none_or(|(least, _)| rank < least) {
                    best = Some((rank, at));
                }
                continue;
            }
            let rows = self.expected_rows(place, clause, pending, context)?;
            if rows < 0.0 {
                return Ok((at, None));
            }
            if best.is_none_or(|(least, _)| rows < least) {
                best = Some((rows, at));
            }
            estimates += 1;
            if estimates == ESTIMATES_MAX {
                break;
            }
        }
        best.map(|(rows, at)| (at, Some(rows))).ok_or_else(|| {
            Error::fault(format!("no clause of {} can be worked in, though their order was checked", pending.len()))
        })
    }

    /// Rows expected after the clause, negative for what should be done before anything else.
    fn expected_rows(&self, place: Place<'_>, clause: &Clause, pending: &[&Clause], context: &Context) -> Result<f64> {
        let touched = |vars: &VarSet| -> (usize, f64) {
            let relations = context.relations.iter().filter(|relation| relation.vars.iter().any(|v| vars.contains(*v)));
            relations.fold((0, 1.0), |(count, rows), relation| {
                (count + usize::from(relation.rows > 1), rows * relation.rows as f64)
            })
        };
        Ok(match &clause.kind {
            Kind::Pattern { source, terms } => {
                self.pattern_rows(place.within(*source), clause, terms, pending, context)?
            }
            Kind::Call(call) => {
                let args: VarSet = call
                    .args
                    .iter()
                    .filter_map(|arg| match arg {
                        Arg::Var(var) => Some(*var),
                        _ => None,
                    })
                    .collect();
                let (relations, rows) = touched(&args);
                if let (Op::Compare(Comparison::Equal), None, 2) = (&call.function.op, &call.binding, relations) {
                    // Joined by hash: about as many rows as the larger side has.
                    let sides = context.relations.iter().filter(|side| side.vars.iter().any(|v| args.contains(*v)));
                    return Ok(sides.map(|side| side.rows as f64).fold(1.0, f64::max) * 1.01);
                }
                if relations == 0 || (relations == 1 && call.binding.is_none()) { -1.0 } else { rows * 1.01 }
            }
            Kind::Not { .. } => touched(&clause.vars).1,
            Kind::Or { branches, source, .. } => {
                let (relations, rows) = touched(&clause.vars);
                if relations > 0 {
                    return Ok(rows * branches.len() as f64);
                }
                let place = place.within(*source);
                let mut sum = 0.0;
                for branch in branches {
                    let mut least = RECURSION_ROWS;
                    for clause in branch {
                        if let Kind::Pattern { source, terms } = &clause.kind {
                            let rows = self.pattern_rows(place.within(*source), clause, terms, &[], context)?;
                            least = least.min(rows);
                        }
                    }
                    sum += least;
                }
                sum
            }
            Kind::Rule { name, args, .. } => {
                let (_, rows) = touched(&clause.vars);
                let bound = args.iter().any(|arg| match arg {
                    Term::Const(_) => true,
                    Term::Var(var) => context.has(*var),
                    Term::Blank => false,
                });
                match (bound, self.facts.is_recursive(name)) {
                    (true, true) => rows * 16.0,
                    (true, false) => rows * 4.0,
                    (false, _) => RECURSION_ROWS,
                }
            }
        })
    }

    fn pattern_rows(
        &self,
        place: Place<'_>,
        clause: &Clause,
        terms: &[Term],
        pending: &[&Clause],
        context: &Context,
    ) -> Result<f64> {
        let db = match self.source(place, clause)? {
            Source::Relation(rows) => return Ok(rows.len() as f64),
            Source::Db(db) => db,
        };
        let Some(mut access) = Access::new(db, place.scope, terms, context)? else { return Ok(-1.0) };
        let bound = |part: Part| access.var(part).and_then(|var| context.relation_of(var).map(|rel| (var, rel)));
        let (e, v) = (bound(Part::E), bound(Part::V));
        if access.vars.is_empty() {
            return Ok(-1.0);
        }
        let (Some(a), true) = (access.a, e.is_some() || v.is_some()) else {
            if let Some((_, relation)) = e.or(v) {
                return Ok(relation.rows as f64 * 8.0);
            }
            access.push_range(context, pending);
            let rows = access.count()?.max(1) as f64;
            // What other parts say is not known; nothing is concluded from it but that it cannot be worse.
            let others = access.vars.iter().filter_map(|(_, var)| context.relation_of(*var));
            return Ok(others.map(|relation| relation.rows as f64).fold(rows, f64::max));
        };
        let stats = db.stats(a);
        let all = (db.count(&Pattern::all().a(a))? as f64).max(1.0);
        let distinct = stats.distinct_values.max(1.0).min(all);
        let many = access.attribute().is_some_and(|attribute| attribute.is_many()) || db.is_history();
        let fan_out = |(var, relation): (Var, &super::super::relation::Relation)| -> Result<f64> {
            let column = relation.column(var).expect("the relation of the variable");
            let step = relation.rows.div_ceil(SAMPLE).max(1);
            let (mut sum, mut looked) = (0u64, 0u64);
            for row in (0..relation.rows).step_by(step) {
                if let Some(e) = column.get(row).as_ref() {
                    sum += db.count(&Pattern::all().e(e).a(a))?;
                    looked += 1;
                }
            }
            Ok(if looked == 0 { 1.0 } else { sum as f64 / looked as f64 })
        };
        Ok(match (e, v) {
            (Some((_, relation)), None) => {
                let rows = relation.rows as f64;
                match &access.v {
                    // The share of entities that have this very value.
                    Some(value) => {
                        let having = if access.looks_up_values() {
                            db.count(&Pattern { v: ValueRange::Is(value), ..Pattern::all().a(a) })? as f64
                        } else {
                            all / distinct
                        };
                        rows * (having / all).clamp(1e-6, 1.0)
                    }
                    None if many => rows * fan_out(e.expect("matched"))?.max(0.1),
                    None => rows * 0.99,
                }
            }
            (None, Some((_, relation))) => relation.rows as f64 * (all / distinct),
            (Some((_, left)), Some((_, right))) => {
                let share = if many { fan_out(e.expect("matched"))?.max(0.1) } else { 1.0 };
                if std::ptr::eq(left, right) {
                    left.rows as f64 * (share / distinct).clamp(1e-6, 0.9)
                } else {
                    left.rows as f64 * share * (right.rows as f64 / distinct).max(1e-6)
                }
            }
            (None, None) => all,
        })
    }
}
