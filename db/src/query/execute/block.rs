//! Clauses that hold clauses: `not`, `or`, and calls of rules.
//!
//! A block is begun with the rows that its variables take so far, each once, and solved by itself: so its own work
//! is bounded by what is bound outside. `not` then removes the rows it found, `or` and rules join with them.

use super::super::ast::{Clause, Rule, Term, Var, VarSet};
use super::super::explain::{StepKind, StepStart};
use super::super::join::{Match, matches};
use super::super::relation::{Column, Relation};
use super::context::Context;
use super::resolve::entity_in;
use super::{Place, Run};
use crate::Result;
use crate::model::Symbol;
use crate::text::brief;

impl Run<'_> {
    pub(super) fn not(
        &self,
        place: Place<'_>,
        clause: &Clause,
        clauses: &[Clause],
        mut context: Context,
    ) -> Result<Context> {
        let budget = self.env.budget;
        let joined = clause.vars.intersection(&context.bound());
        let vars: Vec<Var> = joined.iter().collect();
        let seeds = context.seeds(&vars, budget)?;
        let inner: Vec<&Clause> = clauses.iter().collect();
        let found = self.solve(place, &inner, seeds, &joined)?;
        if found.has_no_rows() {
            return Ok(context);
        }
        let found = found.into_relation(&vars, budget)?;
        let relation = context.take_all(vars.into_iter(), budget)?;
        let matched = matches(&relation, &found, budget)?;
        let kept: Vec<u32> = (0..relation.rows as u32).filter(|row| !matched[*row as usize]).collect();
        context.push(relation.select(&kept));
        Ok(context)
    }

    pub(super) fn or(
        &self,
        place: Place<'_>,
        clause: &Clause,
        branches: &[Vec<Clause>],
        mut context: Context,
    ) -> Result<Context> {
        let budget = self.env.budget;
        let mut shared = clause.vars.intersection(&context.bound());
        let seeds = context.seeds(&shared.iter().collect::<Vec<Var>>(), budget)?;
        shared.extend(&clause.binds);
        let vars: Vec<Var> = shared.iter().collect();
        let mut union = Relation::empty(vars.clone());
        for (number, branch) in branches.iter().enumerate() {
            let inner: Vec<&Clause> = branch.iter().collect();
            self.begin(|| StepStart {
                kind: StepKind::Branch,
                clause: format!("branch {}", number + 1),
                rows_expected: None,
                rows_in: seeds.rows_over(&shared),
            });
            let found = self.solve(place, &inner, seeds.clone(), &shared)?.into_relation(&vars, budget)?;
            self.end(|| found.rows as u64);
            union.append(found);
        }
        union.dedup(budget)?;
        context.join(union, Match::Same, budget)?;
        Ok(context)
    }

    pub(super) fn rule_call(
        &self,
        place: Place<'_>,
        name: &Symbol,
        args: &[Term],
        mut context: Context,
    ) -> Result<Context> {
        let rule = &self.rules[name];
        let Some(call) = self.call_vars(place, name, args, &mut context)? else { return Ok(Context::empty()) };
        let mut found = if self.facts.is_recursive(name) {
            self.fixpoint(place, name, &call.vars, &context)?
        } else {
            self.branches(place, rule, &call.vars, &context)?
        };
        for var in &call.vars {
            if !context.has(*var) {
                found = self.given(place, found, *var)?;
            }
        }
        // The same variable given twice.
        for (var, alias) in &call.same {
            if let (Some(a), Some(b)) = (found.column(*var), found.column(*alias)) {
                let rows: Vec<u32> =
                    (0..found.rows).filter(|row| a.unifies(*row, b, *row)).map(|row| row as u32).collect();
                found = found.select(&rows);
            }
        }
        found.retain(|var| !call.blanks.contains(&var));
        found.dedup(self.env.budget)?;
        context.join(found, Match::Same, self.env.budget)?;
        context.retain(|var| !var.is_hidden());
        Ok(context)
    }

    /// One variable for each argument of a rule call: constants, and values that the rule must have resolved, get
    /// hidden ones of their own. None where a constant stands for no entity.
    fn call_vars(
        &self,
        place: Place<'_>,
        name: &Symbol,
        args: &[Term],
        context: &mut Context,
    ) -> Result<Option<CallVars>> {
        let mut call = CallVars { vars: Vec::new(), same: Vec::new(), blanks: Vec::new() };
        for (i, arg) in args.iter().enumerate() {
            let hidden = Var::hidden(16 + i);
            let entity_source = self.facts.entity_param(name, i, place.source);
            let var = match arg {
                Term::Blank => {
                    call.blanks.push(hidden);
                    hidden
                }
                Term::Const(value) => {
                    let column = match entity_source {
                        None => Column::from_values(vec![value.clone()]),
                        Some(source) => match entity_in(self.db(source)?, value)? {
                            Some(e) => Column::Ref(vec![e]),
                            None => return Ok(None),
                        },
                    };
                    let mut relation = Relation::new(vec![hidden], vec![column]);
                    relation.distinct = true;
                    context.push(relation);
                    hidden
                }
                Term::Var(var) => {
                    let bound = context.relation_of(*var);
                    let unresolved =
                        bound.is_some_and(|relation| !matches!(relation.column(*var), Some(Column::Ref(_))));
                    match entity_source {
                        Some(source) if unresolved && place.scope.may_be_unresolved(*var) => {
                            if let Some(relation) = context.take(*var) {
                                context.push(self.with_entities(self.db(source)?, relation, *var, hidden)?);
                            }
                            hidden
                        }
                        _ if call.vars.contains(var) => {
                            if let Some(mut relation) = context.take(*var) {
                                let column = relation.column(*var).expect("taken by this variable").clone();
                                relation.vars.push(hidden);
                                relation.columns.push(column);
                                context.push(relation);
                            } else {
                                call.same.push((*var, hidden));
                                call.blanks.push(hidden);
                            }
                            hidden
                        }
                        _ => *var,
                    }
                }
            };
            call.vars.push(var);
        }
        Ok(if context.has_no_rows() { None } else { Some(call) })
    }

    /// The rows of a rule that does not come back to itself, over the call's variables.
    fn branches(&self, place: Place<'_>, rule: &Rule, vars: &[Var], context: &Context) -> Result<Relation> {
        let budget = self.env.budget;
        let mut union = Relation::empty(vars.to_vec());
        let bound: Vec<Var> = vars.iter().copied().filter(|var| context.has(*var)).collect();
        let seeds = context.seeds(&bound, budget)?;
        let scopes = self.facts.scopes(&rule.name, place.source);
        for (branch, scope) in rule.branches.iter().zip(scopes) {
            let mut begun = seeds.clone();
            begun.rename(|var| branch.params[vars.iter().position(|other| *other == var).expect("a seed's variable")]);
            let inner: Vec<&Clause> = branch.clauses.iter().collect();
            let keep: VarSet = branch.params.iter().copied().collect();
            let place = Place { scope, source: place.source };
            self.begin(|| StepStart {
                kind: StepKind::Branch,
                clause: brief(&branch.form),
                rows_expected: None,
                rows_in: begun.rows_over(&keep),
            });
            let mut found = self.solve(place, &inner, begun, &keep)?.into_relation(&branch.params, budget)?;
            self.end(|| found.rows as u64);
            found.vars = vars.to_vec();
            found.determined.clear();
            union.append(found);
        }
        union.dedup(budget)?;
        Ok(union)
    }
}

/// The variables that stand for the arguments of a call.
struct CallVars {
    vars: Vec<Var>,
    /// Free variables given twice, with the hidden one of the second place.
    same: Vec<(Var, Var)>,
    /// Hidden variables that nobody asks for.
    blanks: Vec<Var>,
}
