//! From the relation of all that was found to the rows asked for.

use super::aggregate::{self, Chance};
use super::ast::{FindElement, PullPattern, Query, Shape, SourceId, Var};
use super::execute::{Run, Scope, entity_in};
use super::input::Inputs;
use super::relation::{Column, Relation};
use crate::item::Item;
use crate::model::Value;
use crate::pull;
use crate::{Error, Result};
use rustc_hash::FxHashMap;
use std::cmp::Ordering;

/// The variables whose combinations make the set: those of `:find`, then those of `:with`.
pub(super) fn vars(query: &Query) -> Vec<Var> {
    let mut vars: Vec<Var> = Vec::new();
    for var in query.find.iter().map(FindElement::var).chain(query.with.iter().copied()) {
        if !vars.contains(&var) {
            vars.push(var);
        }
    }
    vars
}

/// What is pulled stands for an entity.
pub(super) fn note_entities(query: &Query, scope: &mut Scope) {
    for element in &query.find {
        if let FindElement::Pull { source, var, .. } = element
            && let Some(source) = source.or(query.default_source)
        {
            scope.always_at_entity(*var, source);
        }
    }
}

/// A column of the answer before its values become items.
enum Output<'a> {
    Column(&'a Column),
    Items(Vec<Item>),
}

/// The rows of the answer, sorted.
pub(super) fn rows(run: &Run<'_>, query: &Query, inputs: &Inputs, found: Relation) -> Result<Vec<Vec<Item>>> {
    let budget = run.env.budget;
    if found.rows == 0 {
        return Ok(Vec::new());
    }
    let is_plain = |element: &&FindElement| !matches!(element, FindElement::Aggregate { .. });
    let mut plain: Vec<Var> = Vec::new();
    for element in query.find.iter().filter(is_plain) {
        if !plain.contains(&element.var()) {
            plain.push(element.var());
        }
    }
    let has_aggregates = query.find.iter().any(|element| !is_plain(&element));
    let column = |var: Var| found.column(var).expect("the relation was made over these variables");

    // Where there are aggregates rows are groups, told by the first row of each.
    let groups = has_aggregates
        .then(|| aggregate::group(&plain.iter().map(|var| column(*var)).collect::<Vec<_>>(), found.rows, budget))
        .transpose()?;
    let grouped: Vec<Column> = match &groups {
        Some(groups) => plain.iter().map(|var| column(*var).gather(&groups.first)).collect(),
        None => Vec::new(),
    };
    let plain_column = |var: Var| match &groups {
        Some(_) => &grouped[plain.iter().position(|other| *other == var).expect("a plain variable")],
        None => column(var),
    };
    let count = groups.as_ref().map_or(found.rows, |groups| groups.first.len());

    let keys: Vec<&Column> = plain.iter().map(|var| plain_column(*var)).collect();
    let mut order = sorted(&keys, count);
    if matches!(query.shape, Shape::Tuple | Shape::Scalar) {
        order.truncate(1);
    }
    budget.hold(order.len() * (24 + 24 * query.find.len()))?;

    let mut outputs: Vec<Output<'_>> = Vec::with_capacity(query.find.len());
    for (at, (element, name)) in query.find.iter().zip(&query.columns).enumerate() {
        outputs.push(match element {
            FindElement::Var(var) => Output::Column(plain_column(*var)),
            FindElement::Aggregate { aggregate, var } => {
                let groups = groups.as_ref().expect("there are aggregates");
                let chance = Chance { seed: run.options.seed, element: at, order: &order };
                Output::Items(aggregate::aggregate(*aggregate, column(*var), groups, chance, budget)?)
            }
            FindElement::Pull { source, var, pattern } => {
                let source = source.or(query.default_source);
                let pattern = match pattern {
                    PullPattern::Form(form) => form,
                    PullPattern::Input(at) => &inputs.patterns[at],
                };
                Output::Items(pull_all(run, source, (name, plain_column(*var)), pattern, &order, count)?)
            }
        });
    }

    let mut rows = Vec::with_capacity(order.len());
    for row in order {
        budget.step()?;
        let mut items = Vec::with_capacity(outputs.len());
        for output in &mut outputs {
            items.push(match output {
                Output::Column(column) => Item::Value(column.get(row as usize)),
                Output::Items(made) => std::mem::replace(&mut made[row as usize], Item::Nil),
            });
        }
        rows.push(items);
    }
    Ok(rows)
}

/// Row numbers in the order of these columns, left to right.
fn sorted(columns: &[&Column], rows: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    let compare = |a: &u32, b: &u32| -> Ordering {
        columns
            .iter()
            .map(|column| column.compare(*a as usize, *b as usize))
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    };
    if order.is_sorted_by(|a, b| compare(a, b).is_le()) {
        return order;
    }
    // Numbers of the first column beside the rows: most comparisons end there.
    let keyed = |key: &dyn Fn(u32) -> u64| -> Vec<u32> {
        let mut keyed: Vec<(u64, u32)> = (0..rows as u32).map(|row| (key(row), row)).collect();
        keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| compare(&a.1, &b.1)).then(a.1.cmp(&b.1)));
        keyed.into_iter().map(|(_, row)| row).collect()
    };
    match columns[0] {
        Column::Ref(x) => keyed(&|row| x[row as usize].as_u64()),
        Column::Long(x) => keyed(&|row| (x[row as usize] as u64) ^ (1 << 63)),
        Column::Value(_) => {
            order.sort_by(compare);
            order
        }
    }
}

/// Pulls each entity that is asked for, once.
fn pull_all(
    run: &Run<'_>,
    source: Option<SourceId>,
    (name, entities): (&str, &Column),
    pattern: &pull::Pattern,
    order: &[u32],
    count: usize,
) -> Result<Vec<Item>> {
    let source = source.ok_or_else(|| {
        Error::incorrect("db.error/invalid-query", "pull names no source, and :in has no $".to_string())
    })?;
    let db = run.db(source)?;
    let plan = pull::Plan::new(db, pattern)?;
    let not_entity = |value: &Value| {
        let message = format!("{name} takes entities, not {value}, a {}", value.value_type().name());
        Error::incorrect("db.error/not-an-entity", message)
    };
    let mut pulled: FxHashMap<Value, Item> = FxHashMap::default();
    let mut items = vec![Item::Nil; count];
    for row in order {
        run.env.budget.step()?;
        let entity = entities.get(*row as usize);
        let item = match pulled.get(&entity) {
            Some(item) => item.clone(),
            None => {
                let item = match entity_in(db, &entity)? {
                    Some(e) => plan.pull(e, run.env.budget)?,
                    // An ident or lookup ref that names nothing has nothing to show; what could name nothing is a mistake.
                    None if matches!(entity, Value::Keyword(_) | Value::Tuple(_)) => Item::Map(Vec::new()),
                    None => return Err(not_entity(&entity)),
                };
                pulled.insert(entity, item.clone());
                item
            }
        };
        items[*row as usize] = item;
    }
    Ok(items)
}
