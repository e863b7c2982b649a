//! Transactions under random schemas against the rules said naively: sets of facts, no index, no order.
//!
//! What was taken is compared datom by datom, what was refused by its code; then every view and every sort of the value
//! that came of it all is compared with the plain list of what was said.

use super::*;
use crate::Item;
use crate::index::Sort;
use crate::model::Partition;
use crate::model::{AttrId, T, ValueType};
use crate::testing::in_trees;
use crate::view::naive::{Said, fits};
use proptest::prelude::*;
use std::ops::Bound;

const TYPES: [(ValueType, &str); 5] = [
    (ValueType::Long, "long"),
    (ValueType::String, "string"),
    (ValueType::Boolean, "boolean"),
    (ValueType::Double, "double"),
    (ValueType::Ref, "ref"),
];
const TEMPIDS: [&str; 3] = ["a", "b", "c"];
/// Entities that are there from the beginning.
const ENTITIES: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Attribute {
    value_type: usize,
    many: bool,
    /// 0 not, 1 by value, 2 by identity.
    unique: u8,
    index: bool,
    component: bool,
}

/// How an entity is named, by numbers that mean something in each schema and value.
#[derive(Clone, Copy, Debug)]
enum Name {
    Known(usize),
    Temp(usize),
    /// An attribute with its value; where the attribute is not unique, a known entity.
    Lookup(usize, u8),
}

#[derive(Clone, Debug)]
enum Form {
    Add(Name, usize, u8, Name),
    Retract(Name, usize, u8, Name),
    RetractAll(Name, usize),
    RetractEntity(Name),
    /// Old (none: no value), new.
    Cas(Name, usize, Option<u8>, u8, Name),
    /// Attributes with their values, a collection where there may be many.
    Map(Name, Vec<(usize, Vec<u8>, Name)>),
    /// `{:db/id e :x/_a other}`
    Reverse(Name, usize, Name),
}

fn attribute() -> impl Strategy<Value = Attribute> {
    (0..TYPES.len(), any::<bool>(), 0u8..6, any::<bool>(), any::<bool>()).prop_map(
        |(value_type, many, unique, index, component)| {
            let is_ref = TYPES[value_type].0 == ValueType::Ref;
            let is_key = matches!(TYPES[value_type].0, ValueType::Long | ValueType::String);
            let unique = if is_key && unique < 3 { unique } else { 0 };
            Attribute { value_type, many, unique, index, component: is_ref && component }
        },
    )
}

/// One that may be new.
fn any_name() -> impl Strategy<Value = Name> {
    prop_oneof![3 => known_name(), 3 => (0..TEMPIDS.len()).prop_map(Name::Temp)]
}

fn known_name() -> impl Strategy<Value = Name> {
    prop_oneof![8 => (0usize..12).prop_map(Name::Known), 1 => (0usize..8, 0u8..3).prop_map(|(a, v)| Name::Lookup(a, v))]
}

fn form() -> impl Strategy<Value = Form> {
    let (a, v) = (0usize..8, 0u8..3);
    let said = (a.clone(), prop::collection::vec(v.clone(), 1..3), any_name());
    prop_oneof![
        6 => (any_name(), a.clone(), v.clone(), any_name()).prop_map(|(e, a, v, r)| Form::Add(e, a, v, r)),
        3 => (known_name(), a.clone(), v.clone(), known_name()).prop_map(|(e, a, v, r)| Form::Retract(e, a, v, r)),
        1 => (known_name(), a.clone()).prop_map(|(e, a)| Form::RetractAll(e, a)),
        1 => known_name().prop_map(Form::RetractEntity),
        1 => (known_name(), a.clone(), prop::option::of(v.clone()), v, known_name())
            .prop_map(|(e, a, old, new, r)| Form::Cas(e, a, old, new, r)),
        3 => (any_name(), prop::collection::vec(said, 1..3)).prop_map(|(e, said)| Form::Map(e, said)),
        1 => (any_name(), a, any_name()).prop_map(|(e, a, other)| Form::Reverse(e, a, other)),
    ]
}

/// What a database is, said naively.
struct World {
    attributes: Vec<Attribute>,
    ids: Vec<AttrId>,
    /// Of `:db/doc`, which the first entities have.
    doc: AttrId,
    entities: Vec<EntityId>,
    now: BTreeSet<Fact>,
    said: Said,
}

type Fact = (EntityId, AttrId, Value);

/// A value as a form has it: known, or an entity that the transaction is yet to find.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meant {
    Entity(EntityId),
    Temp(usize),
    Plain(Value),
}

/// Forms with names looked up: what is added and retracted, and the codes of what cannot be.
#[derive(Default)]
struct Expanded {
    adds: BTreeSet<(Meant, usize, Meant)>,
    retracts: BTreeSet<Fact>,
    /// Tempids with a form about them.
    about: BTreeSet<usize>,
    problems: BTreeSet<&'static str>,
}

impl World {
    /// An attribute of the schema by any number.
    fn a(&self, a: usize) -> usize {
        a % self.attributes.len()
    }

    fn plain(&self, a: usize, v: u8) -> Value {
        match TYPES[self.attributes[a].value_type].0 {
            ValueType::Long => Value::Long(i64::from(v)),
            ValueType::String => Value::string(["u", "v", "w"][usize::from(v)]),
            ValueType::Boolean => Value::Boolean(v > 0),
            ValueType::Double => Value::Double(f64::from(v) / 2.0),
            _ => unreachable!("references are named"),
        }
    }

    fn is_ref(&self, a: usize) -> bool {
        TYPES[self.attributes[a].value_type].0 == ValueType::Ref
    }

    fn known(&self, number: usize) -> EntityId {
        self.entities[number % self.entities.len()]
    }

    /// The attribute and value of a lookup ref, if it is one.
    fn lookup(&self, a: usize, v: u8) -> Option<(usize, Value)> {
        let a = self.a(a);
        (self.attributes[a].unique > 0).then(|| (a, self.plain(a, v)))
    }

    fn name_text(&self, name: Name) -> String {
        match name {
            Name::Known(number) => self.known(number).as_long().to_string(),
            Name::Temp(number) => format!("{:?}", TEMPIDS[number]),
            Name::Lookup(a, v) => match self.lookup(a, v) {
                Some((a, value)) => format!("[:x/a{a} {}]", Edn::from(&Item::Value(value))),
                None => self.known(a).as_long().to_string(),
            },
        }
    }

    fn value_text(&self, a: usize, v: u8, name: Name) -> String {
        match self.is_ref(a) {
            true => self.name_text(name),
            false => Edn::from(&Item::Value(self.plain(a, v))).to_string(),
        }
    }

    fn text(&self, form: &Form) -> String {
        match form {
            Form::Add(e, a, v, r) | Form::Retract(e, a, v, r) => {
                let op = if matches!(form, Form::Add(..)) { "add" } else { "retract" };
                format!("[:db/{op} {} :x/a{} {}]", self.name_text(*e), self.a(*a), self.value_text(self.a(*a), *v, *r))
            }
            Form::RetractAll(e, a) => format!("[:db/retract {} :x/a{}]", self.name_text(*e), self.a(*a)),
            Form::RetractEntity(e) => format!("[:db/retractEntity {}]", self.name_text(*e)),
            Form::Cas(e, a, old, new, r) => {
                let a = self.a(*a);
                let old = old.map_or("nil".to_owned(), |old| self.value_text(a, old, *r));
                format!("[:db/cas {} :x/a{a} {old} {}]", self.name_text(*e), self.value_text(a, *new, *r))
            }
            Form::Map(e, said) => {
                let said = self.said_in_map(said);
                let values = said.into_iter().map(|(a, values, name)| {
                    let texts: Vec<String> = values.iter().map(|v| self.value_text(a, *v, name)).collect();
                    let many = self.attributes[a].many;
                    format!(":x/a{a} {}", if many { format!("[{}]", texts.join(" ")) } else { texts[0].clone() })
                });
                format!("{{:db/id {} {}}}", self.name_text(*e), values.collect::<Vec<_>>().join(" "))
            }
            Form::Reverse(e, a, other) => match self.is_ref(self.a(*a)) {
                true => format!("{{:db/id {} :x/_a{} {}}}", self.name_text(*e), self.a(*a), self.name_text(*other)),
                false => format!("[:db/retract {} :x/a{}]", self.name_text(Name::Known(*a)), self.a(*a)),
            },
        }
    }

    /// A map has each key once.
    fn said_in_map(&self, said: &[(usize, Vec<u8>, Name)]) -> Vec<(usize, Vec<u8>, Name)> {
        let mut keys = BTreeSet::new();
        said.iter()
            .filter(|(a, ..)| keys.insert(self.a(*a)))
            .map(|(a, values, name)| (self.a(*a), values.clone(), *name))
            .collect()
    }

    /// None when a lookup ref names nothing.
    fn resolve(&self, name: Name, into: &mut Expanded) -> Option<Meant> {
        match name {
            Name::Known(number) => Some(Meant::Entity(self.known(number))),
            Name::Temp(number) => Some(Meant::Temp(number)),
            Name::Lookup(a, v) => match self.lookup(a, v) {
                None => Some(Meant::Entity(self.known(a))),
                Some((a, value)) => {
                    let found = self.now.iter().find(|(_, of, v)| (*of, v) == (self.ids[a], &value));
                    if found.is_none() {
                        into.problems.insert("not-an-entity");
                    }
                    found.map(|(e, ..)| Meant::Entity(*e))
                }
            },
        }
    }

    fn value(&self, a: usize, v: u8, name: Name, into: &mut Expanded) -> Option<Meant> {
        if self.is_ref(a) { self.resolve(name, into) } else { Some(Meant::Plain(self.plain(a, v))) }
    }

    fn add(&self, e: Name, a: usize, value: Option<Meant>, into: &mut Expanded) {
        let e = self.resolve(e, into);
        if let Some(Meant::Temp(number)) = e {
            into.about.insert(number);
        }
        if let (Some(e), Some(value)) = (e, value) {
            into.adds.insert((e, a, value));
        }
    }

    fn expand(&self, form: &Form, into: &mut Expanded) {
        match form {
            Form::Add(e, a, v, r) => {
                let value = self.value(self.a(*a), *v, *r, into);
                self.add(*e, self.a(*a), value, into);
            }
            Form::Retract(e, a, v, r) => {
                let (e, value) = (self.resolve(*e, into), self.value(self.a(*a), *v, *r, into));
                if let (Some(Meant::Entity(e)), Some(value)) = (e, value) {
                    into.retracts.insert((e, self.ids[self.a(*a)], settled(&value, &BTreeMap::new())));
                }
            }
            Form::RetractAll(e, a) => {
                if let Some(Meant::Entity(e)) = self.resolve(*e, into) {
                    self.retract_where(|fact| (fact.0, fact.1) == (e, self.ids[self.a(*a)]), into);
                }
            }
            Form::RetractEntity(e) => {
                if let Some(Meant::Entity(e)) = self.resolve(*e, into) {
                    self.retract_entity(e, &mut BTreeSet::new(), into);
                }
            }
            Form::Cas(e, a, old, new, r) => {
                let a = self.a(*a);
                let resolved = self.resolve(*e, into);
                let new = self.value(a, *new, *r, into);
                let old = old.map(|old| self.value(a, old, *r, into));
                if self.attributes[a].many {
                    into.problems.insert("cas-cardinality-many");
                    return;
                }
                let Some(Meant::Entity(entity)) = resolved else { return };
                let found = self.now.iter().find(|fact| (fact.0, fact.1) == (entity, self.ids[a]));
                match old {
                    Some(None) => return,
                    Some(Some(old)) if found.map(|fact| &fact.2) == Some(&settled(&old, &BTreeMap::new())) => {}
                    None if found.is_none() => {}
                    _ => {
                        into.problems.insert("cas-failed");
                        return;
                    }
                }
                self.add(*e, a, new, into);
            }
            Form::Map(e, said) => {
                for (a, values, name) in self.said_in_map(said) {
                    let count = if self.attributes[a].many { values.len() } else { 1 };
                    for v in &values[..count] {
                        let value = self.value(a, *v, name, into);
                        self.add(*e, a, value, into);
                    }
                }
            }
            Form::Reverse(e, a, other) if self.is_ref(self.a(*a)) => {
                let value = self.resolve(*e, into);
                self.add(*other, self.a(*a), value, into);
            }
            Form::Reverse(_, a, _) => self.expand(&Form::RetractAll(Name::Known(*a), *a), into),
        }
    }

    fn retract_where(&self, gone: impl Fn(&Fact) -> bool, into: &mut Expanded) {
        into.retracts.extend(self.now.iter().filter(|fact| gone(fact)).cloned());
    }

    fn retract_entity(&self, e: EntityId, seen: &mut BTreeSet<EntityId>, into: &mut Expanded) {
        if !seen.insert(e) {
            return;
        }
        self.retract_where(|fact| fact.0 == e || fact.2 == Value::Ref(e), into);
        for (_, a, v) in self.now.iter().filter(|fact| fact.0 == e) {
            let component = self.ids.iter().position(|id| id == a).is_some_and(|a| self.attributes[a].component);
            if let (true, Some(part)) = (component, v.as_ref()) {
                self.retract_entity(part, seen, into);
            }
        }
    }

    /// Which existing entities tempids become, and which of them are one: by identity values, until nothing changes.
    fn upserts(&self, expanded: &mut Expanded) -> BTreeMap<usize, Became> {
        let mut same: BTreeMap<usize, usize> = (0..TEMPIDS.len()).map(|number| (number, number)).collect();
        let identities: Vec<(usize, usize, Value)> = expanded
            .adds
            .iter()
            .filter_map(|(e, a, v)| match (e, v) {
                (Meant::Temp(number), Meant::Plain(v)) if self.attributes[*a].unique == 2 => {
                    Some((*number, *a, v.clone()))
                }
                _ => None,
            })
            .collect();
        for (one, a, v) in &identities {
            for (other, ..) in identities.iter().filter(|(_, b, w)| (a, v) == (b, w)) {
                let (stays, goes) = (same[one].min(same[other]), same[one].max(same[other]));
                same.values_mut().filter(|class| **class == goes).for_each(|class| *class = stays);
            }
        }
        let mut found: BTreeMap<usize, BTreeSet<EntityId>> = BTreeMap::new();
        for (number, a, v) in &identities {
            let holders = self.now.iter().filter(|fact| (fact.1, &fact.2) == (self.ids[*a], v));
            found.entry(same[number]).or_default().extend(holders.map(|fact| fact.0));
        }
        if found.values().any(|entities| entities.len() > 1) {
            expanded.problems.insert("unique-conflict");
        }
        let became = |class: usize| match found.get(&class).and_then(|entities| entities.first()) {
            Some(e) => Became::Known(*e),
            None => Became::New(class),
        };
        same.iter().map(|(number, class)| (*number, became(*class))).collect()
    }

    /// What the transaction comes to under the entities that its tempids became, or the codes that refuse it.
    fn judge(
        &self,
        forms: &[Form],
        new: &BTreeMap<String, EntityId>,
    ) -> Result<BTreeSet<(Fact, bool)>, BTreeSet<&str>> {
        let mut expanded = Expanded::default();
        forms.iter().for_each(|form| self.expand(form, &mut expanded));
        let became = self.upserts(&mut expanded);
        let Expanded { adds, retracts, about, mut problems } = expanded;
        let used = adds.iter().filter_map(|(_, _, v)| if let Meant::Temp(number) = v { Some(*number) } else { None });
        if used.clone().any(|number| !about.contains(&number)) {
            problems.insert("tempid-not-an-entity");
        }
        // Where it was refused there are no entities to compare, and any will do that are not there yet.
        let entities: BTreeMap<usize, EntityId> = became
            .iter()
            .map(|(number, became)| match became {
                Became::Known(e) => (*number, *e),
                Became::New(class) => {
                    let fresh = EntityId::new(Partition::User, 1 << 30 | *class as u64);
                    (*number, new.get(TEMPIDS[*number]).copied().unwrap_or(fresh))
                }
            })
            .collect();
        let adds: BTreeSet<(EntityId, usize, Value)> = adds
            .iter()
            .map(|(e, a, v)| match settled(e, &entities) {
                Value::Ref(e) => (e, *a, settled(v, &entities)),
                other => unreachable!("{other:?} is no entity"),
            })
            .collect();
        for (e, a, v) in &adds {
            let two =
                !self.attributes[*a].many && adds.iter().any(|other| (other.0, other.1) == (*e, *a) && other.2 != *v);
            if two || retracts.contains(&(*e, self.ids[*a], v.clone())) {
                problems.insert("datoms-conflict");
            }
        }
        let mut gone: BTreeSet<Fact> = retracts.intersection(&self.now).cloned().collect();
        let mut come = BTreeSet::new();
        for (e, a, v) in adds {
            let fact = (e, self.ids[a], v);
            if self.now.contains(&fact) {
                continue;
            }
            if !self.attributes[a].many {
                gone.extend(self.now.iter().filter(|old| (old.0, old.1) == (fact.0, fact.1)).cloned());
            }
            come.insert(fact);
        }
        let after: BTreeSet<&Fact> = self.now.difference(&gone).chain(&come).collect();
        for fact in &come {
            let a = self.ids.iter().position(|id| *id == fact.1).expect("an attribute of the schema");
            let claimed = after.iter().filter(|other| (other.1, &other.2) == (fact.1, &fact.2)).count();
            if self.attributes[a].unique > 0 && claimed > 1 {
                problems.insert("unique-conflict");
            }
        }
        match problems.is_empty() {
            true => Ok(gone
                .into_iter()
                .map(|fact| (fact, false))
                .chain(come.into_iter().map(|fact| (fact, true)))
                .collect()),
            false => Err(problems),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Became {
    Known(EntityId),
    /// New, the same for all of a class.
    New(usize),
}

fn settled(meant: &Meant, entities: &BTreeMap<usize, EntityId>) -> Value {
    match meant {
        Meant::Entity(e) => Value::Ref(*e),
        Meant::Temp(number) => Value::Ref(entities[number]),
        Meant::Plain(value) => value.clone(),
    }
}

/// A database of that schema, with the first entities.
fn begin(attributes: Vec<Attribute>) -> (Db, World) {
    let schema = attributes.iter().enumerate().map(|(number, attribute)| {
        let cardinality = if attribute.many { "many" } else { "one" };
        let unique =
            ["", " :db/unique :db.unique/value", " :db/unique :db.unique/identity"][usize::from(attribute.unique)];
        let index = if attribute.index { " :db/index true" } else { "" };
        let component = if attribute.component { " :db/isComponent true" } else { "" };
        let value_type = TYPES[attribute.value_type].1;
        format!(
            "{{:db/ident :x/a{number} :db/valueType :db.type/{value_type} \
              :db/cardinality :db.cardinality/{cardinality}{unique}{index}{component}}}"
        )
    });
    let db = after(&Db::bootstrap(), &format!("[{}]", schema.collect::<Vec<_>>().join(" ")));
    let first = (0..ENTITIES).map(|n| format!("[:db/add \"{n}\" :db/doc \"{n}\"]")).collect::<Vec<_>>().join(" ");
    let report = run(&db, &format!("[{first}]")).unwrap();
    let db = report.db_after;
    let id = |ident: &str| db.schema().attr_of_ident(&Keyword::new(ident)).unwrap();
    let ids = (0..attributes.len()).map(|number| id(&format!("x/a{number}"))).collect();
    let entities: Vec<EntityId> = report.tempids.values().copied().collect();
    let mut world = World { attributes, ids, doc: id("db/doc"), entities, now: BTreeSet::new(), said: Said::default() };
    let said = report.datoms.into_iter().filter(|datom| datom.a() == world.doc);
    world.said.datoms.extend(said);
    world.now.extend(world.said.datoms.iter().map(|datom| (datom.e, datom.a(), datom.v.clone())));
    (db, world)
}

proptest! {
    #![proptest_config(crate::testing::cases(1000))]

    #[test]
    fn transactions_under_random_schemas_do_what_the_rules_say(
        attributes in prop::collection::vec(attribute(), 2..8),
        transactions in prop::collection::vec(prop::collection::vec(form(), 1..6), 1..10),
        indexed in prop::collection::vec(any::<bool>(), 1..5),
    ) {
        let (mut db, mut world) = begin(attributes);
        let store = Default::default();
        for (forms, is_indexed) in transactions.into_iter().zip(indexed.into_iter().cycle()) {
            let texts: Vec<String> = forms.iter().map(|form| world.text(form)).collect();
            let text = format!("[{}]", texts.join(" "));
            match run(&db, &text) {
                Ok(report) => {
                    let expected = world.judge(&forms, &report.tempids);
                    let ours = |datom: &&Datom| world.ids.contains(&datom.a()) || datom.a() == world.doc;
                    let datoms: Vec<Datom> = report.datoms.iter().filter(ours).cloned().collect();
                    let found = datoms.iter().map(|datom| ((datom.e, datom.a(), datom.v.clone()), datom.added()));
                    prop_assert_eq!(Ok(found.collect()), expected, "\n{}\n{:#?}", text, world.now);
                    // New ones are new, and those that are one are one: what was said of them says so.
                    for e in report.tempids.values().filter(|e| !world.entities.contains(e)) {
                        prop_assert!(e.counter() >= db.next_counter(), "{}", text);
                    }
                    for datom in &datoms {
                        let fact = (datom.e, datom.a(), datom.v.clone());
                        if datom.added() { world.now.insert(fact); } else { world.now.remove(&fact); }
                    }
                    world.entities.extend(report.tempids.values());
                    world.entities.sort();
                    world.entities.dedup();
                    world.said.datoms.extend(datoms);
                    db = if is_indexed { in_trees(&report.db_after, &store) } else { report.db_after };
                }
                Err(error) => {
                    let codes = world.judge(&forms, &BTreeMap::new()).expect_err(&text);
                    let code = error.code().trim_start_matches("db.error/");
                    prop_assert!(codes.contains(code), "{} is none of {:?}:\n{}\n{:#?}", code, codes, text, error);
                }
            }
        }
        views(&db, &world)?;
    }
}

/// Every view of the value, in every sort, and by ranges of it, against the list.
fn views(db: &Db, world: &World) -> Result<(), TestCaseError> {
    let basis = db.basis_t();
    let mut views: Vec<(Db, T, Option<T>, bool)> =
        vec![(db.clone(), basis, None, false), (db.history(), basis, None, true)];
    for t in 2..=basis {
        views.push((db.as_of(t), t, None, false));
        views.push((db.since(t), basis, Some(t), false));
        views.push((db.history().since(t / 2).as_of(t), t, Some(t / 2), true));
    }
    for (view, as_of, since, history) in views {
        let whole = world.said.seen(as_of, since, history);
        let mut patterns: Vec<Pattern<'_>> = world.entities.iter().map(|e| Pattern::all().e(*e)).collect();
        let values: Vec<Value> = whole.iter().map(|datom| datom.v.clone()).collect();
        patterns.extend(world.ids.iter().map(|a| Pattern::all().a(*a)));
        for (datom, value) in whole.iter().zip(&values) {
            let of_a = Pattern::all().a(datom.a());
            patterns.extend([of_a.v(value), of_a.e(datom.e), of_a.e(datom.e).v(value)]);
            patterns.push(of_a.between(Bound::Included(value), Bound::Unbounded));
            patterns.push(of_a.between(Bound::Unbounded, Bound::Excluded(value)));
            if value.as_ref().is_some() {
                patterns.push(Pattern::all().v(value));
            }
        }
        for pattern in patterns {
            let mut found = view.datoms(&pattern).unwrap();
            // The list begins after the schema.
            found.retain(|datom| datom.t() > 1 && (world.ids.contains(&datom.a()) || datom.a() == world.doc));
            let mut expected: Vec<Datom> = whole.iter().filter(|datom| fits(&pattern, datom)).cloned().collect();
            let sort: Sort = view.sort(&pattern).unwrap();
            expected.sort_by(|x, y| sort.cmp(x, y).then(x.t().cmp(&y.t())));
            prop_assert_eq!(found, expected, "{:?} through {:?}", pattern, view);
        }
    }
    Ok(())
}
