//! The walk from entity to entity that fills a plan's maps.

use super::pattern::{LIMIT_DEFAULT, Limit};
use super::plan::{Next, Node, Plan, ROOT, WHOLE, Want, What};
use super::transform::Transform;
use crate::budget::Budget;
use crate::model::{AttrId, Datom, EntityId, Keyword, Value};
use crate::view::Pattern;
use crate::{Error, Item, Result};
use std::ops::ControlFlow;

/// Maps in maps. The walk goes down by calls, and so does everything that later reads the answer.
const DEPTH_MAX: usize = 256;

/// An entity with fewer datoms than this is read whole where several of its attributes are wanted.
const READ_WHOLE_MAX: u64 = 64;

/// What an entry of a map is estimated to take.
const ENTRY_BYTES: usize = 80;

impl Plan {
    /// Pulls one entity: a map, empty if nothing matched.
    pub fn pull(&self, e: EntityId, budget: &Budget<'_>) -> Result<Item> {
        let walk = Walk { plan: self, budget };
        let path = Path { e, above: None, left: self.nodes[ROOT].depths.clone(), depth: 0 };
        walk.entity(ROOT, e, &path).map(Item::Map)
    }
}

struct Walk<'a> {
    plan: &'a Plan,
    budget: &'a Budget<'a>,
}

/// An entity and those above it, as far as the same level of the pattern pulled them.
struct Path<'a> {
    e: EntityId,
    above: Option<&'a Path<'a>>,
    /// How often each recursion of the level may still go on.
    left: Vec<Option<u32>>,
    /// Maps above this one, of whatever level.
    depth: usize,
}

impl Path<'_> {
    fn has_seen(&self, e: EntityId) -> bool {
        let mut path = Some(self);
        while let Some(at) = path {
            if at.e == e {
                return true;
            }
            path = at.above;
        }
        false
    }
}

type Entries = Vec<(Item, Item)>;

impl Walk<'_> {
    /// What a level wants of an entity.
    fn entity(&self, at: usize, e: EntityId, path: &Path<'_>) -> Result<Entries> {
        self.budget.step()?;
        if path.depth > DEPTH_MAX {
            let message = format!("the pull goes more than {DEPTH_MAX} references deep; give the recursion a depth");
            return Err(Error::interrupted("db.error/pull-too-deep", message).with("entity", e.as_long()));
        }
        let node = &self.plan.nodes[at];
        let mut entries = Entries::with_capacity(node.wants.len());
        if node.wildcard {
            self.everything(at, node, e, path, &mut entries)?;
        }
        let values = self.values_wanted(node, e)?;
        for (i, want) in node.wants.iter().enumerate() {
            if matches!(want.next, Next::Recurse(place) if path.left[place] == Some(0)) {
                continue;
            }
            let item = match want.what {
                What::Id => Some(Item::Value(Value::Ref(e))),
                What::Forward(a) => {
                    let from = values.partition_point(|(place, _)| *place < i);
                    let to = values.partition_point(|(place, _)| *place <= i);
                    self.forward(at, a, want, e, &values[from..to], path)?
                }
                What::Reverse(a) => self.reverse(at, a, want, e, path)?,
            };
            let item = match (&want.transform, item) {
                (Some(transform), Some(item)) => Some(self.transformed(want, transform, item)?),
                (_, item) => item,
            };
            // The default stands as it was written.
            if let Some(item) = item.or_else(|| want.default.clone()) {
                self.budget.hold(ENTRY_BYTES)?;
                entries.push((want.key.clone(), item));
            }
        }
        Ok(entries)
    }

    fn transformed(&self, want: &Want, transform: &Transform, item: Item) -> Result<Item> {
        transform.apply(item, self.budget).map_err(|error| match want.what {
            What::Id => error.within(":db/id"),
            What::Forward(a) | What::Reverse(a) => error.within(self.plan.db.schema().attribute(a).ident.to_string()),
        })
    }

    /// Values of the attributes that are wanted forwards, with their places among the wants, in the order of these;
    /// of each attribute one more than the limit, if there are so many.
    fn values_wanted(&self, node: &Node, e: EntityId) -> Result<Vec<(usize, Value)>> {
        let mut values: Vec<(usize, Value)> = Vec::with_capacity(node.forward.len());
        let whole = Pattern::all().e(e);
        if node.forward.len() > 1 && self.plan.db.count(&whole)? < READ_WHOLE_MAX {
            let mut outcome = Ok(());
            let mut wanted = &node.forward[..];
            self.plan.db.each(&whole, |datom| {
                outcome = self.budget.step();
                while wanted.first().is_some_and(|(a, _)| *a < datom.a()) {
                    wanted = &wanted[1..];
                }
                // One attribute may be wanted under several keys.
                for (_, place) in wanted.iter().take_while(|(a, _)| *a == datom.a()) {
                    values.push((*place, datom.v.clone()));
                }
                if outcome.is_err() || wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            outcome?;
        } else {
            for (a, place) in &node.forward {
                let most = limit(&node.wants[*place]).saturating_add(1);
                self.read(&Pattern::all().e(e).a(*a), most, |datom| values.push((*place, datom.v.clone())))?;
            }
        }
        values.sort_by_key(|(place, _)| *place);
        Ok(values)
    }

    /// Shows the first datoms that match.
    fn read(&self, pattern: &Pattern<'_>, most: usize, mut f: impl FnMut(&Datom)) -> Result<()> {
        let mut outcome = Ok(());
        let mut left = most;
        self.plan.db.each(pattern, |datom| {
            f(datom);
            left -= 1;
            outcome = self.budget.step();
            if outcome.is_err() || left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        outcome
    }

    fn forward(
        &self,
        at: usize,
        a: AttrId,
        want: &Want,
        e: EntityId,
        values: &[(usize, Value)],
        path: &Path<'_>,
    ) -> Result<Option<Item>> {
        let Some((_, first)) = values.first() else { return Ok(None) };
        let attribute = self.plan.db.schema().attribute(a);
        if !attribute.is_many() {
            return self.value(at, want.next, first, path);
        }
        self.note_cut(want, &attribute.ident.to_string(), e, values.len());
        let values = values.iter().take(limit(want)).map(|(_, value)| value);
        self.values(at, want.next, values, path).map(Some)
    }

    /// Entities that refer to this one: of a component the one that has it.
    fn reverse(&self, at: usize, a: AttrId, want: &Want, e: EntityId, path: &Path<'_>) -> Result<Option<Item>> {
        let attribute = self.plan.db.schema().attribute(a);
        let most = if attribute.component { 1 } else { limit(want).saturating_add(1) };
        let mut values = Vec::new();
        let target = Value::Ref(e);
        self.read(&Pattern::all().a(a).v(&target), most, |datom| values.push(Value::Ref(datom.e)))?;
        let Some(first) = values.first() else { return Ok(None) };
        if attribute.component {
            return self.value(at, want.next, first, path);
        }
        self.note_cut(want, &reversed(&attribute.ident), e, values.len());
        self.values(at, want.next, values.iter().take(limit(want)), path).map(Some)
    }

    /// The items of several values; referenced entities of which nothing matched are left out.
    fn values<'v>(
        &self,
        at: usize,
        next: Next,
        values: impl Iterator<Item = &'v Value>,
        path: &Path<'_>,
    ) -> Result<Item> {
        let mut items = Vec::new();
        for value in values {
            if let Some(item) = self.value(at, next, value, path)? {
                self.budget.hold(ENTRY_BYTES / 2)?;
                items.push(item);
            }
        }
        Ok(Item::Vector(items))
    }

    /// The item of one value; None for a referenced entity of which nothing matched.
    fn value(&self, at: usize, next: Next, value: &Value, path: &Path<'_>) -> Result<Option<Item>> {
        let Value::Ref(e) = value else {
            self.budget.hold(value.heap_bytes())?;
            return Ok(Some(Item::Value(value.clone())));
        };
        match next {
            Next::Reference => self.reference(*e).map(Some),
            Next::Whole => {
                // Components of what is itself pulled whole go on along its path; others begin one.
                let begun = Path { e: path.e, above: None, left: Vec::new(), depth: path.depth };
                self.again(WHOLE, *e, if at == WHOLE { path } else { &begun }, Vec::new())
            }
            Next::Node(node) => {
                let left = self.plan.nodes[node].depths.clone();
                let below = Path { e: *e, above: None, left, depth: path.depth + 1 };
                Ok(some_map(self.entity(node, *e, &below)?))
            }
            Next::Recurse(place) => {
                let mut left = path.left.clone();
                if let Some(times) = &mut left[place] {
                    *times -= 1;
                }
                self.again(at, *e, path, left)
            }
        }
    }

    /// One more step along a path; an entity that stands on it already is a mere id.
    fn again(&self, at: usize, e: EntityId, path: &Path<'_>, left: Vec<Option<u32>>) -> Result<Option<Item>> {
        if path.has_seen(e) {
            return Ok(Some(Item::Map(vec![(self.plan.id_key.clone(), Item::Value(Value::Ref(e)))])));
        }
        let below = Path { e, above: Some(path), left, depth: path.depth + 1 };
        Ok(some_map(self.entity(at, e, &below)?))
    }

    /// `{:db/id n}`, with the ident where there is one.
    fn reference(&self, e: EntityId) -> Result<Item> {
        let mut entries = vec![(self.plan.id_key.clone(), Item::Value(Value::Ref(e)))];
        if let Some(ident) = self.plan.db.ident_of_entity(e)? {
            entries.push((self.plan.ident_key.clone(), Item::Value(Value::Keyword(ident))));
        }
        self.budget.hold(ENTRY_BYTES * entries.len())?;
        Ok(Item::Map(entries))
    }

    /// The id and all attributes that no want of the level speaks of.
    fn everything(&self, at: usize, node: &Node, e: EntityId, path: &Path<'_>, entries: &mut Entries) -> Result<()> {
        if !node.wants.iter().any(|want| want.what == What::Id) {
            entries.push((self.plan.id_key.clone(), Item::Value(Value::Ref(e))));
        }
        let is_wanted = |a: AttrId| node.forward.binary_search_by_key(&a, |(wanted, _)| *wanted).is_ok();
        // Of each attribute one more than the limit, to know that it was cut.
        let mut values: Vec<(AttrId, Value)> = Vec::new();
        let mut count = 0;
        self.read(&Pattern::all().e(e), usize::MAX, |datom| {
            let a = datom.a();
            count = if values.last().is_some_and(|(last, _)| *last == a) { count + 1 } else { 0 };
            if count <= LIMIT_DEFAULT && !is_wanted(a) {
                values.push((a, datom.v.clone()));
            }
        })?;
        for of_one in values.chunk_by(|(a, _), (b, _)| a == b) {
            let attribute = self.plan.db.schema().attribute(of_one[0].0);
            let next = if attribute.component { Next::Whole } else { Next::Reference };
            let item = if attribute.is_many() {
                if of_one.len() > LIMIT_DEFAULT {
                    self.warn_cut(&attribute.ident.to_string(), e);
                }
                let values = of_one.iter().take(LIMIT_DEFAULT).map(|(_, value)| value);
                Some(self.values(at, next, values, path)?)
            } else {
                self.value(at, next, &of_one[0].1, path)?
            };
            if let Some(item) = item {
                self.budget.hold(ENTRY_BYTES)?;
                entries.push((Item::Value(Value::Keyword(attribute.ident.clone())), item));
            }
        }
        Ok(())
    }

    fn note_cut(&self, want: &Want, ident: &str, e: EntityId, count: usize) {
        if want.limit == Limit::Default && count > LIMIT_DEFAULT {
            self.warn_cut(ident, e);
        }
    }

    fn warn_cut(&self, ident: &str, e: EntityId) {
        self.budget.warn(|| {
            format!(
                "pull: {ident} of entity {e} was cut off at the default limit of {LIMIT_DEFAULT}; :limit nil lifts it"
            )
        });
    }
}

/// `:ns/_attr` for `:ns/attr`.
fn reversed(ident: &Keyword) -> String {
    match ident.namespace() {
        Some(namespace) => format!(":{namespace}/_{}", ident.name()),
        None => format!(":_{}", ident.name()),
    }
}

fn limit(want: &Want) -> usize {
    match want.limit {
        Limit::Default => LIMIT_DEFAULT,
        Limit::Given(limit) => limit.unwrap_or(usize::MAX),
    }
}

fn some_map(entries: Entries) -> Option<Item> {
    if entries.is_empty() { None } else { Some(Item::Map(entries)) }
}
