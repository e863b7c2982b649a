//! What a data pattern makes of the datoms it is shown.

use super::super::ast::Var;
use super::super::relation::{Column, Meter, Relation, unify};
use super::Run;
use super::access::{Access, Part};
use crate::Result;
use crate::model::{Datom, Value};
use std::ops::ControlFlow;

/// The rows that a scan or lookup makes: rows of the driver, and columns for the variables it does not bind.
pub(super) struct Output<'a, 'd> {
    access: &'a Access<'d>,
    driver: Option<&'a Relation>,
    /// The driver's column that was looked up by, which needs no check.
    pub key: Option<usize>,
    /// Further parts that the driver binds.
    checks: Vec<(Part, usize)>,
    /// Pairs of parts with one variable.
    same: Vec<(Part, Part)>,
    added: Vec<(Part, Var, Column)>,
    rows: Vec<u32>,
    found: usize,
    plain: bool,
    meter: Meter<'a>,
}

impl<'a, 'd> Output<'a, 'd> {
    pub(super) fn new(run: &'a Run<'_>, access: &'a Access<'d>, driver: Option<&'a Relation>, by: Part) -> Self {
        let (mut key, mut checks, mut same) = (None, Vec::new(), Vec::new());
        let mut added: Vec<(Part, Var, Column)> = Vec::new();
        for (part, var) in &access.vars {
            let bound = driver.and_then(|driver| driver.position(*var));
            if let Some(at) = bound {
                if *part == by && key.is_none() { key = Some(at) } else { checks.push((*part, at)) }
            } else if let Some((first, ..)) = added.iter().find(|(_, other, _)| other == var) {
                same.push((*first, *part));
            } else {
                let column = match (part, access.attribute()) {
                    (Part::E | Part::A | Part::Tx, _) => Column::Ref(Vec::new()),
                    (Part::V, Some(attribute)) => Column::of_type(attribute.value_type),
                    _ => Column::Value(Vec::new()),
                };
                added.push((*part, *var, column));
            }
        }
        let plain = checks.is_empty() && same.is_empty() && access.op.is_none() && access.v_entity.is_none();
        let meter = Meter::new(run.env.budget, driver.map_or(0, |driver| driver.vars.len()) + added.len());
        Output { access, driver, key, checks, same, added, rows: Vec::new(), found: 0, plain, meter }
    }

    #[inline]
    pub(super) fn offer(&mut self, datom: &Datom, row: u32, failed: &mut Result<()>) -> ControlFlow<()> {
        if !self.plain && !self.admits(datom, row) {
            return ControlFlow::Continue(());
        }
        if let Err(error) = self.meter.row() {
            *failed = Err(error);
            return ControlFlow::Break(());
        }
        self.found += 1;
        if self.driver.is_some() {
            self.rows.push(row);
        }
        for (part, _, column) in &mut self.added {
            match part {
                Part::E => column.push_entity(datom.e),
                Part::V => column.push_ref(&datom.v),
                Part::Tx => column.push_entity(datom.tx()),
                Part::A => column.push_entity(self.access.db.schema().attribute(datom.a()).id),
                Part::Op => column.push(Value::Boolean(datom.added())),
            }
        }
        ControlFlow::Continue(())
    }

    fn part(&self, datom: &Datom, part: Part) -> Value {
        match part {
            Part::E => Value::Ref(datom.e),
            Part::A => Value::Ref(self.access.db.schema().attribute(datom.a()).id),
            Part::V => datom.v.clone(),
            Part::Tx => Value::Ref(datom.tx()),
            Part::Op => Value::Boolean(datom.added()),
        }
    }

    fn admits(&self, datom: &Datom, row: u32) -> bool {
        if self.access.op.is_some_and(|op| op != datom.added()) {
            return false;
        }
        if let (Some(e), Some(value)) = (self.access.v_entity, &self.access.v)
            && !(datom.v == Value::Ref(e) || unify(&datom.v, value))
        {
            return false;
        }
        if self.same.iter().any(|(a, b)| !unify(&self.part(datom, *a), &self.part(datom, *b))) {
            return false;
        }
        let Some(driver) = self.driver else { return true };
        self.checks.iter().all(|(part, at)| match (part, &driver.columns[*at]) {
            (Part::E, Column::Ref(entities)) => entities[row as usize] == datom.e,
            (Part::V, column) => column.unifies_value(row as usize, &datom.v),
            (part, column) => column.unifies_value(row as usize, &self.part(datom, *part)),
        })
    }

    pub(super) fn finish(self) -> Result<Relation> {
        let mut relation = match self.driver {
            None => Relation { rows: self.found, ..Relation::unit() },
            Some(driver) => {
                let unchanged =
                    self.rows.len() == driver.rows && self.rows.iter().enumerate().all(|(at, row)| at == *row as usize);
                let distinct = driver.distinct;
                if unchanged { driver.clone() } else { Relation { distinct, ..driver.gather(&self.rows) } }
            }
        };
        relation.distinct &= self.access.is_distinct();
        for (_, var, column) in self.added {
            relation.vars.push(var);
            relation.columns.push(column);
        }
        if relation.vars.is_empty() {
            relation.rows = relation.rows.min(1);
        }
        relation.determined.extend(self.access.determined());
        self.meter.finish()?;
        Ok(relation)
    }
}
