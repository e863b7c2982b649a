//! Runs programs of rules until nothing new is found, each round on what the round before found.

use super::super::ast::{SourceId, Term, Var, VarSet};
use super::super::execute::{Context, Place, Run, entity_in};
use super::super::explain::{How, Read, StepKind, StepStart};
use super::super::join::Match;
use super::super::relation::{Column, Relation};
use super::program::{Atom, Body, Compiler, Key, Program, Step, Walk, answers, demands};
use super::table::Table;
use crate::Result;
use crate::model::Symbol;
use crate::text::brief;

impl Run<'_> {
    /// The rows of a recursive rule over a call's variables, for the rows that the bound ones take.
    pub(crate) fn fixpoint(
        &self,
        place: Place<'_>,
        name: &Symbol,
        vars: &[Var],
        context: &Context,
    ) -> Result<Relation> {
        let budget = self.env.budget;
        let key = Key { name: name.clone(), source: place.source, bound: self.bound_by(name, vars, context)? };
        let asked: Vec<Var> = key.bound_positions().map(|i| vars[i]).collect();
        let asked = context.seeds(&asked, budget)?.into_relation(&asked, budget)?;
        let compiler = Compiler { rules: self.rules, facts: self.facts, readiness: self.readiness() };
        let rounds = |how| {
            if let Some(recorder) = self.recorder {
                recorder.in_rounds(Read::plain(how));
            }
        };
        if let Some(walk) = compiler.walk(&key)? {
            rounds(How::Follow);
            return self.walk(&walk, &key, vars, asked);
        }
        rounds(How::Rounds);
        let program = compiler.compile(key)?;
        let mut tables: Vec<Table> = Vec::new();
        for key in &program.keys {
            tables.push(Table::new(key.bound.len()));
            tables.push(Table::new(key.bound_positions().count()));
        }
        tables[demands(0)].insert(&asked, budget)?;
        self.run_program(&program, &mut tables)?;
        let found = tables.swap_remove(answers(0)).finish(vars.to_vec(), budget);
        tables.into_iter().for_each(|table| drop(table.finish(Vec::new(), budget)));
        Ok(found)
    }

    /// The parameters a call binds in its rule: those that must be; those with one value; else the one with the
    /// fewest values.
    fn bound_by(&self, name: &Symbol, vars: &[Var], context: &Context) -> Result<Vec<bool>> {
        let must = self.facts.must_bind(name);
        let rows = |var: &Var| context.relation_of(*var).map(|relation| relation.rows);
        let mut bound: Vec<bool> =
            vars.iter().zip(must).map(|(var, must)| *must || rows(var).is_some_and(|rows| rows <= 1)).collect();
        if !bound.contains(&true) {
            let mut fewest: Option<(usize, usize)> = None;
            for (i, var) in vars.iter().enumerate() {
                let Some(relation) = context.relation_of(*var) else { continue };
                let values = relation.project(&[*var], self.env.budget)?.rows;
                if fewest.is_none_or(|(least, _)| values < least) {
                    fewest = Some((values, i));
                }
            }
            if let Some((_, i)) = fewest {
                bound[i] = true;
            }
        }
        Ok(bound)
    }

    fn run_program(&self, program: &Program<'_>, tables: &mut [Table]) -> Result<()> {
        // What no table feeds is found once.
        for step in program.steps.iter().filter(|step| step.atoms.is_empty()) {
            let found = self.run_step(step, tables, None)?;
            tables[step.head].insert(&found, self.env.budget)?;
        }
        loop {
            let mut fresh = false;
            for table in tables.iter_mut() {
                fresh |= table.turn();
            }
            if !fresh {
                return Ok(());
            }
            self.env.budget.look()?;
            for step in &program.steps {
                for at in 0..step.atoms.len() {
                    if tables[step.atoms[at].table].has_fresh() {
                        let found = self.run_step(step, tables, Some(at))?;
                        tables[step.head].insert(&found, self.env.budget)?;
                    }
                }
            }
        }
    }

    /// The rows a step makes from the fresh rows of one of its atoms and all rows of the others.
    fn run_step(&self, step: &Step<'_>, tables: &[Table], fresh: Option<usize>) -> Result<Relation> {
        let budget = self.env.budget;
        let keep: VarSet = step.args.iter().filter_map(Term::var).collect();
        let mut context = Context::default();
        // The fresh rows first: they are few, and the others join with them.
        let order = fresh.into_iter().chain((0..step.atoms.len()).filter(|at| Some(*at) != fresh));
        for at in order {
            let atom = &step.atoms[at];
            let relation = self.atom(step, atom, &tables[atom.table], Some(at) == fresh)?;
            context.join(relation, Match::Same, budget)?;
        }
        let place = Place { scope: step.scope, source: step.source };
        self.begin(|| StepStart {
            kind: StepKind::Branch,
            // Tables of demands have odd numbers.
            clause: format!("{}{}", if step.head % 2 == 1 { "what to ask for " } else { "" }, brief(step.form)),
            rows_expected: None,
            rows_in: context.rows_over(&context.bound()),
        });
        let context = self.solve(place, &step.clauses, context, &keep)?;
        let found = self.head(step.source, &step.args, context)?;
        self.end(|| found.rows as u64);
        Ok(found)
    }

    /// The rows of a table under an atom's variables.
    fn atom(&self, step: &Step<'_>, atom: &Atom, table: &Table, fresh: bool) -> Result<Relation> {
        let columns: Vec<Var> = (0..atom.args.len()).map(Var::hidden).collect();
        let mut relation = if fresh { table.fresh(columns) } else { table.all(columns) };
        let mut rows: Vec<u32> = (0..relation.rows as u32).collect();
        let mut named: Vec<Option<Var>> = Vec::new();
        for (i, arg) in atom.args.iter().enumerate() {
            match arg {
                Term::Blank => named.push(None),
                Term::Const(value) => {
                    let value = self.resolved_const(step.source, value)?;
                    rows.retain(|row| {
                        value.as_ref().is_some_and(|value| relation.columns[i].unifies_value(*row as usize, value))
                    });
                    named.push(None);
                }
                Term::Var(var) => {
                    if let Some(first) = named.iter().position(|other| *other == Some(*var)) {
                        let (a, b) = (&relation.columns[first], &relation.columns[i]);
                        rows.retain(|row| a.unifies(*row as usize, b, *row as usize));
                        named.push(None);
                    } else {
                        named.push(Some(*var));
                    }
                }
            }
        }
        relation = relation.select(&rows);
        let hidden = relation.vars.clone();
        relation.retain(|var| hidden.iter().position(|other| *other == var).is_some_and(|at| named[at].is_some()));
        for var in &mut relation.vars {
            let at = hidden.iter().position(|other| other == var).expect("one of the hidden");
            *var = named[at].expect("only the named were retained");
        }
        Ok(relation)
    }

    /// A constant in the call of a rule: an entity where it names one.
    fn resolved_const(
        &self,
        source: Option<SourceId>,
        value: &crate::model::Value,
    ) -> Result<Option<crate::model::Value>> {
        use crate::model::Value;
        Ok(match (value, source.map(|source| self.db(source))) {
            (Value::Keyword(_) | Value::Tuple(_) | Value::Long(_), Some(Ok(db))) => {
                entity_in(db, value)?.map(Value::Ref).or_else(|| Some(value.clone()))
            }
            _ => Some(value.clone()),
        })
    }

    /// The rows of a context as those of a head.
    fn head(&self, source: Option<SourceId>, args: &[Term], context: Context) -> Result<Relation> {
        let mut vars: Vec<Var> = Vec::new();
        args.iter().filter_map(Term::var).for_each(|var| {
            if !vars.contains(&var) {
                vars.push(var);
            }
        });
        let found = context.into_relation(&vars, self.env.budget)?;
        let mut head = Relation { rows: found.rows, distinct: true, ..Relation::unit() };
        for (i, arg) in args.iter().enumerate() {
            head.vars.push(Var::hidden(i));
            head.columns.push(match arg {
                Term::Var(var) => found.column(*var).expect("a variable of the head").clone(),
                Term::Const(value) => {
                    let value = self.resolved_const(source, value)?;
                    Column::from_values(vec![value.unwrap_or_else(|| crate::model::Value::Boolean(false)); found.rows])
                }
                Term::Blank => Column::Value(Vec::new()),
            });
        }
        Ok(head)
    }

    /// Follows the bound arguments from where they start, and answers from everywhere they lead.
    fn walk(&self, walk: &Walk<'_>, key: &Key, vars: &[Var], asked: Relation) -> Result<Relation> {
        let budget = self.env.budget;
        let width = asked.vars.len();
        // One start needs no record of where each place was reached from.
        let with_start = asked.rows > 1;
        let mut places = Table::new(if with_start { 2 * width } else { width });
        let start: Vec<Var> = (0..width).map(|i| Var::hidden(1000 + i)).collect();
        let mut begun = asked.clone();
        if with_start {
            begun.vars = [start.clone(), begun.vars].concat();
            begun.columns = [asked.columns.clone(), begun.columns].concat();
        }
        places.insert(&begun, budget)?;
        let named = |body: &Body<'_>| -> Vec<Var> {
            let here = key.bound_positions().map(|i| body.branch.params[i]);
            if with_start { start.iter().copied().chain(here).collect() } else { here.collect() }
        };
        while places.turn() {
            budget.look()?;
            for (body, to) in &walk.moves {
                let vars = named(body);
                let found = self.solve_from(body, places.fresh(vars), &start, to)?;
                places.insert(&found, budget)?;
            }
        }
        let mut found = Table::new(vars.len());
        for body in &walk.ends {
            let args: Vec<Term> = body.branch.params.iter().map(|param| Term::Var(*param)).collect();
            let rows = self.solve_from(body, places.all(named(body)), &start, &args)?;
            // The answer speaks of the start, not of the place it was found at.
            let mut answer = Relation { rows: rows.rows, ..Relation::unit() };
            let (starts, own) = rows.columns.split_at(if with_start { width } else { 0 });
            let mut bound = 0;
            for (i, is_bound) in key.bound.iter().enumerate() {
                answer.vars.push(Var::hidden(i));
                answer.columns.push(if !is_bound {
                    own[i].clone()
                } else {
                    bound += 1;
                    if with_start {
                        starts[bound - 1].clone()
                    } else {
                        asked.columns[bound - 1].gather(&vec![0; rows.rows])
                    }
                });
            }
            found.insert(&answer, budget)?;
        }
        drop(places.finish(Vec::new(), budget));
        Ok(found.finish(vars.to_vec(), budget))
    }

    /// Solves a body from some rows: the starts, if the rows have them, and the arguments.
    fn solve_from(&self, body: &Body<'_>, from: Relation, start: &[Var], args: &[Term]) -> Result<Relation> {
        let place = Place { scope: body.scope, source: body.source };
        // Hidden variables stand in no set; these few must outlive the solving, so they get numbers of their own.
        let first = body.branch.names.len() as u32;
        let visible = |var: Var| Var(first + (var.0 - start[0].0));
        let mut from = from;
        let carries = !start.is_empty() && from.has(start[0]);
        let mut head: Vec<Term> = Vec::new();
        if carries {
            from.vars.iter_mut().filter(|var| start.contains(var)).for_each(|var| *var = visible(*var));
            head.extend(start.iter().map(|var| Term::Var(visible(*var))));
        }
        head.extend(args.iter().cloned());
        let keep: VarSet = head.iter().filter_map(Term::var).collect();
        self.begin(|| StepStart {
            kind: StepKind::Branch,
            clause: brief(&body.branch.form),
            rows_expected: None,
            rows_in: from.rows as u64,
        });
        let context = self.solve(place, &body.clauses, Context::of([from]), &keep)?;
        let found = self.head(body.source, &head, context)?;
        self.end(|| found.rows as u64);
        Ok(found)
    }
}
