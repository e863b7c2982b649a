//! Rules that come back to themselves, as a program over tables.
//!
//! A table holds the answers of one rule for one choice of bound parameters; beside it stands a table of demands:
//! the values of those parameters that somebody asked for. `reach(a, b) :- edge(a, m), reach(m, b)` asked with `a`
//! bound becomes `demand(m) :- demand(a), edge(a, m)` and `reach(a, b) :- demand(a), edge(a, m), reach(m, b)`, so
//! that only what is reachable is looked at.
//!
//! Where the free arguments of the only recursive call are the rule's own, as here, not even that is needed: the
//! answers of the start are those of every place it leads to. Then the program follows the bound arguments alone,
//! each with the start it came from ([`Walk`]), and answers from where it arrives. A closure from one node costs
//! what it reaches, not the pairs within.

use super::super::ast::{Branch, Clause, Kind, Rule, SourceId, Term, VarSet};
use super::super::execute::{Readiness, Scope};
use super::RuleFacts;
use crate::edn::Edn;
use crate::model::Symbol;
use crate::text::brief;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// One predicate of a program: a rule used with a source and some parameters bound.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    pub name: Symbol,
    pub source: Option<SourceId>,
    pub bound: Vec<bool>,
}

impl Key {
    pub(super) fn bound_positions(&self) -> impl Iterator<Item = usize> + '_ {
        self.bound.iter().enumerate().filter(|(_, bound)| **bound).map(|(i, _)| i)
    }

    fn is_bound(&self) -> bool {
        self.bound.contains(&true)
    }
}

/// A branch with its `or`s over recursive calls dissolved.
pub(super) struct Body<'r> {
    pub branch: &'r Branch,
    pub scope: &'r Scope,
    pub source: Option<SourceId>,
    /// Everything but the recursive calls.
    pub clauses: Vec<&'r Clause>,
    pub calls: Vec<RecursiveCall<'r>>,
}

pub(super) struct RecursiveCall<'r> {
    pub name: &'r Symbol,
    pub source: Option<SourceId>,
    pub args: &'r [Term],
}

/// A table in the body of a rule: the answers or the demands of a key.
#[derive(Clone)]
pub(super) struct Atom {
    pub table: usize,
    pub args: Vec<Term>,
}

/// `head(vars) :- atoms, clauses`.
pub(super) struct Step<'r> {
    pub head: usize,
    pub args: Vec<Term>,
    pub atoms: Vec<Atom>,
    pub clauses: Vec<&'r Clause>,
    pub scope: &'r Scope,
    pub source: Option<SourceId>,
    /// The branch it was made from.
    pub form: &'r Edn,
}

/// Tables by number: answers of key k at 2k, its demands at 2k + 1.
pub(super) struct Program<'r> {
    pub keys: Vec<Key>,
    pub steps: Vec<Step<'r>>,
}

pub(super) fn answers(key: usize) -> usize {
    2 * key
}

pub(super) fn demands(key: usize) -> usize {
    2 * key + 1
}

/// Dissolving `or`s makes no more bodies of one branch.
const BODIES_MAX: usize = 256;
/// A program has no more predicates.
const KEYS_MAX: usize = 256;

/// What compiles programs.
pub(super) struct Compiler<'r, 'q> {
    pub rules: &'r BTreeMap<Symbol, Rule>,
    pub facts: &'r RuleFacts,
    pub readiness: Readiness<'q>,
}

impl<'r> Compiler<'r, '_> {
    /// The bodies of a rule used with a source.
    pub(super) fn bodies(&self, name: &Symbol, source: Option<SourceId>) -> Result<Vec<Body<'r>>> {
        let mut bodies = Vec::new();
        for (branch, scope) in self.rules[name].branches.iter().zip(self.facts.scopes(name, source)) {
            let mut alternatives: Vec<Vec<&Clause>> = vec![Vec::new()];
            for clause in &branch.clauses {
                self.dissolve(name, clause, &mut alternatives)?;
            }
            for clauses in alternatives {
                let (mut plain, mut calls) = (Vec::new(), Vec::new());
                for clause in clauses {
                    match &clause.kind {
                        Kind::Rule { source: own, name: called, args } if self.facts.same_circle(name, called) => {
                            calls.push(RecursiveCall { name: called, source: own.or(source), args });
                        }
                        _ => plain.push(clause),
                    }
                }
                bodies.push(Body { branch, scope, source, clauses: plain, calls });
            }
        }
        Ok(bodies)
    }

    /// Adds a clause to each alternative; an `or` over recursive calls multiplies them by its branches.
    fn dissolve(&self, name: &Symbol, clause: &'r Clause, alternatives: &mut Vec<Vec<&'r Clause>>) -> Result<()> {
        let Kind::Or { source, branches, .. } = &clause.kind else {
            alternatives.iter_mut().for_each(|clauses| clauses.push(clause));
            return Ok(());
        };
        let mut recursive = false;
        branches.iter().for_each(|branch| {
            super::calls(branch, &mut |called, _, _| recursive |= self.facts.same_circle(name, called));
        });
        if !recursive {
            alternatives.iter_mut().for_each(|clauses| clauses.push(clause));
            return Ok(());
        }
        if source.is_some() {
            return Err(Error::unsupported(
                "db.error/unsupported",
                format!("a recursive rule call inside an or with a source of its own: {}", brief(&clause.form)),
            ));
        }
        let before = std::mem::take(alternatives);
        for branch in branches {
            let mut own = before.clone();
            for clause in branch {
                self.dissolve(name, clause, &mut own)?;
            }
            alternatives.append(&mut own);
            if alternatives.len() > BODIES_MAX {
                return Err(Error::incorrect(
                    "db.error/invalid-rule",
                    format!("the ors of the rule {name} multiply to more than {BODIES_MAX} bodies; use more rules"),
                ));
            }
        }
        Ok(())
    }

    /// The program that answers a key, which gets number 0.
    pub(super) fn compile(&self, key: Key) -> Result<Program<'r>> {
        let mut program = Program { keys: vec![key], steps: Vec::new() };
        let mut at = 0;
        while at < program.keys.len() {
            let key = program.keys[at].clone();
            for body in self.bodies(&key.name, key.source)? {
                self.compile_body(&mut program, at, &key, body)?;
            }
            at += 1;
        }
        Ok(program)
    }

    fn compile_body(&self, program: &mut Program<'r>, at: usize, key: &Key, body: Body<'r>) -> Result<()> {
        let params = &body.branch.params;
        let own: Vec<Term> = key.bound_positions().map(|i| Term::Var(params[i])).collect();
        let mut bound: VarSet = own.iter().filter_map(Term::var).collect();
        let mut atoms: Vec<Atom> = Vec::new();
        if key.is_bound() {
            atoms.push(Atom { table: demands(at), args: own.clone() });
        }
        let mut open: Vec<&RecursiveCall<'r>> = body.calls.iter().collect();
        while !open.is_empty() {
            let (i, positions, prefix) = self.next_call(key, &body, &open, &bound)?;
            let call = open.remove(i);
            let called = Key { name: call.name.clone(), source: call.source, bound: positions };
            let number = match program.keys.iter().position(|key| *key == called) {
                Some(number) => number,
                None if program.keys.len() == KEYS_MAX => {
                    return Err(Error::incorrect(
                        "db.error/invalid-rule",
                        format!("the rule {} is called in more than {KEYS_MAX} ways by others", key.name),
                    ));
                }
                None => {
                    program.keys.push(called.clone());
                    program.keys.len() - 1
                }
            };
            if called.is_bound() {
                let asked: Vec<Term> = called.bound_positions().map(|i| call.args[i].clone()).collect();
                // A rule that asks for what it was asked for asks nothing new.
                let same = number == at
                    && asked.iter().zip(&own).all(|(a, b)| matches!((a.var(), b.var()), (Some(a), Some(b)) if a == b));
                if !same {
                    program.steps.push(Step {
                        head: demands(number),
                        args: asked,
                        atoms: atoms.clone(),
                        clauses: prefix,
                        scope: body.scope,
                        source: body.source,
                        form: &body.branch.form,
                    });
                } else {
                    // Its answers are answers to demands of ours.
                    atoms.retain(|atom| atom.table != demands(at));
                }
            }
            atoms.push(Atom { table: answers(number), args: call.args.to_vec() });
            call.args.iter().filter_map(Term::var).for_each(|var| bound.insert(var));
        }
        program.steps.push(Step {
            head: answers(at),
            args: params.iter().map(|param| Term::Var(*param)).collect(),
            atoms,
            clauses: body.clauses,
            scope: body.scope,
            source: body.source,
            form: &body.branch.form,
        });
        Ok(())
    }

    /// The recursive call to ask next, the arguments it is asked with, and the clauses that bind them.
    #[allow(clippy::type_complexity)]
    fn next_call(
        &self,
        key: &Key,
        body: &Body<'r>,
        open: &[&RecursiveCall<'r>],
        bound: &VarSet,
    ) -> Result<(usize, Vec<bool>, Vec<&'r Clause>)> {
        let mut best: Option<(usize, (usize, Vec<bool>, Vec<&'r Clause>))> = None;
        for (i, call) in open.iter().enumerate() {
            let must = self.facts.must_bind(call.name);
            let positions = |bound: &VarSet| -> Vec<bool> {
                call.args
                    .iter()
                    .map(|arg| match arg {
                        Term::Const(_) => true,
                        Term::Var(var) => bound.contains(*var),
                        Term::Blank => false,
                    })
                    .collect()
            };
            let suffices = |positions: &[bool]| positions.iter().zip(must).all(|(bound, must)| *bound || !must);
            let direct = positions(bound);
            // Asked with what is bound already: as good as the rule itself was asked.
            if suffices(&direct) && (direct == key.bound || (!key.is_bound() && must.iter().all(|must| !must))) {
                let positions = if key.is_bound() { direct } else { vec![false; call.args.len()] };
                return Ok((i, positions, Vec::new()));
            }
            let (reached, prefix) = self.connected(body, bound);
            let extended = positions(&reached);
            if suffices(&extended) {
                // As bound as the rule itself where that is enough: one table serves both.
                let narrowed: Vec<bool> = extended.iter().zip(&key.bound).map(|(a, b)| *a && *b).collect();
                let like_own = key.bound.len() == extended.len() && narrowed == key.bound && suffices(&narrowed);
                let positions = if like_own { narrowed } else { extended };
                let score = positions.iter().filter(|bound| **bound).count() + usize::from(like_own) * 64;
                if best.as_ref().is_none_or(|(before, _)| score > *before) {
                    best = Some((score, (i, positions, prefix)));
                }
            }
        }
        best.map(|(_, call)| call).ok_or_else(|| {
            let names: Vec<&str> = open.iter().map(|call| call.name.as_str()).collect();
            Error::incorrect(
                "db.error/insufficient-binding",
                format!(
                    "the recursive call of {} needs arguments that nothing before it binds, in the rule {}",
                    names.join(", "),
                    brief(&body.branch.form)
                ),
            )
        })
    }

    /// The clauses connected with what is bound, as far as they can be worked in, and all that is bound then.
    pub(super) fn connected(&self, body: &Body<'r>, bound: &VarSet) -> (VarSet, Vec<&'r Clause>) {
        let mut bindable = bound.clone();
        body.clauses.iter().for_each(|clause| bindable.extend(&clause.binds));
        body.calls.iter().flat_map(|call| call.args.iter()).filter_map(Term::var).for_each(|var| bindable.insert(var));
        let (mut bound, mut taken) = (bound.clone(), Vec::new());
        let mut open: Vec<&Clause> = body.clauses.clone();
        loop {
            let before = open.len();
            open.retain(|clause| {
                let joins = clause.vars.iter().any(|var| bound.contains(var)) || bound.is_empty();
                if joins && self.readiness.waits_for(body.source, clause, &bound, &bindable).is_none() {
                    bound.extend(&clause.binds);
                    taken.push(*clause);
                    return false;
                }
                true
            });
            if open.len() == before {
                return (bound, taken);
            }
        }
    }
}

/// A key whose recursive branches pass the free arguments on unchanged.
pub(super) struct Walk<'r> {
    /// From bound arguments to those of the recursive call.
    pub moves: Vec<(Body<'r>, Vec<Term>)>,
    /// What answers without recursion.
    pub ends: Vec<Body<'r>>,
}

impl<'r> Compiler<'r, '_> {
    /// The walk that answers a key, where it has that form.
    pub(super) fn walk(&self, key: &Key) -> Result<Option<Walk<'r>>> {
        if !key.is_bound() {
            return Ok(None);
        }
        let mut walk = Walk { moves: Vec::new(), ends: Vec::new() };
        for body in self.bodies(&key.name, key.source)? {
            let call = match body.calls.as_slice() {
                [] => {
                    walk.ends.push(body);
                    continue;
                }
                [call] if *call.name == key.name && call.source == key.source => call,
                _ => return Ok(None),
            };
            let params = &body.branch.params;
            let free = (0..params.len()).filter(|i| !key.bound[*i]);
            let passed_on = free.into_iter().all(|i| {
                let param = params[i];
                let elsewhere = body.clauses.iter().any(|clause| clause.vars.contains(param))
                    || call.args.iter().enumerate().any(|(j, arg)| j != i && arg.var() == Some(param));
                call.args[i].var() == Some(param) && !elsewhere
            });
            let given: VarSet = key.bound_positions().map(|i| params[i]).collect();
            let own = Body { clauses: body.clauses.clone(), calls: Vec::new(), ..body };
            let (reached, _) = self.connected(&own, &given);
            let arrives = key.bound_positions().all(|i| match &call.args[i] {
                Term::Const(_) => true,
                Term::Var(var) => reached.contains(*var),
                Term::Blank => false,
            });
            if !passed_on || !arrives {
                return Ok(None);
            }
            let to = key.bound_positions().map(|i| call.args[i].clone()).collect();
            let body = Body { clauses: own.clauses, calls: body.calls, ..own };
            walk.moves.push((body, to));
        }
        Ok((!walk.moves.is_empty()).then_some(walk))
    }
}
