//! The database value against a naive list of datoms, through every view and every shape of pattern.

use super::naive::{Said, fits};
use super::*;
use crate::index::segment::{MemorySegments, Sizes};
use crate::index::{Component, Trees};
use crate::model::{AttrId, Datom, EntityId, Instant, Keyword, Partition, Value};
use crate::schema::ids;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

pub(super) fn user(n: u64) -> EntityId {
    EntityId::new(Partition::User, 2000 + n)
}

/// Three attributes: an indexed long, a plain long of which an entity has one, a reference.
pub(super) fn with_attributes() -> (Db, [AttrId; 3]) {
    let db = Db::bootstrap();
    let a = |e| db.schema().attr_of_entity(e).unwrap();
    let mut datoms = Vec::new();
    let mut say = |e, attr, v| datoms.push(Datom::new(e, a(attr), v, 1, true));
    let long = db.entity_of_ident(&Keyword::new("db.type/long")).unwrap().unwrap();
    let reference = db.entity_of_ident(&Keyword::new("db.type/ref")).unwrap().unwrap();
    for (i, (ident, value_type, index)) in
        [("x/indexed", long, true), ("x/plain", long, false), ("x/ref", reference, false)].into_iter().enumerate()
    {
        let e = EntityId::new(Partition::Db, 1024 + i as u64);
        say(e, ids::IDENT, Value::keyword(ident));
        say(e, ids::VALUE_TYPE, Value::Ref(value_type));
        let is_one = ident == "x/plain";
        let cardinality = if is_one { ids::CARDINALITY_ONE } else { ids::CARDINALITY_MANY };
        say(e, ids::CARDINALITY, Value::Ref(cardinality));
        if index {
            say(e, ids::INDEX, Value::Boolean(true));
        }
    }
    let tx = EntityId::of_tx(1);
    say(tx, ids::TX_INSTANT, Value::Instant(Instant(10)));
    let db = db.commit(1, Instant(10), &datoms).unwrap();
    let attrs = ["x/indexed", "x/plain", "x/ref"].map(|ident| db.schema().attr_of_ident(&ident.into()).unwrap());
    (db, attrs)
}

/// One step: e, attribute, value. A fact in force is retracted, another one is asserted.
pub(super) type Toggle = (u64, usize, u64);

fn value_of(a: usize, v: u64) -> Value {
    if a == 2 { Value::Ref(user(v)) } else { Value::Long(v as i64) }
}

/// A value, its attributes, and what was said of them.
pub(super) fn attributes_and_values(steps: &[Vec<Toggle>]) -> (Db, [AttrId; 3], Said) {
    let (db, _, attrs, said) = build(steps);
    (db, attrs, said)
}

fn build(steps: &[Vec<Toggle>]) -> (Db, Vec<Db>, [AttrId; 3], Said) {
    build_with(steps, &[Job::None])
}

/// What happens between two transactions.
#[derive(Clone, Copy, Debug)]
enum Job {
    None,
    /// A job begins on the value as it is, and makes trees; they are not adopted yet.
    Begin,
    /// A value on the trees of the last job is prepared, to be completed and adopted later.
    Prepare,
    /// The trees of the last job are adopted, on what was prepared if there is such a thing.
    Adopt,
    /// The value is made again from the trees it stands on and the transactions after those.
    Restart,
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    let job = proptest::sample::select(vec![
        Job::None,
        Job::Begin,
        Job::Begin,
        Job::Prepare,
        Job::Adopt,
        Job::Adopt,
        Job::Restart,
    ]);
    // A sixth of all databases is in memory alone.
    prop_oneof![1 => Just(vec![Job::None]), 5 => proptest::collection::vec(job, 1..12)]
}

/// Values on trees with tiny nodes, made while transactions go on.
#[derive(Default)]
struct Indexing {
    store: Arc<MemorySegments>,
    trees: Option<Arc<Trees>>,
    prepared: Option<Db>,
    /// The value when the adopted trees were made, and what was said since.
    begun: Option<Db>,
    adopted: Option<Db>,
    said: Vec<(Instant, Vec<Datom>)>,
}

impl Indexing {
    fn step(&mut self, db: Db, job: Job) -> Db {
        let sizes = Sizes { leaf_bytes: 1 << 16, leaf_rows: 3, branch_children: 3 };
        match job {
            Job::None => db,
            Job::Begin => {
                self.trees = Some(self.store.trees_of(&db, sizes).unwrap());
                self.begun = Some(db.clone());
                self.prepared = None;
                db
            }
            Job::Prepare => {
                self.prepared = self.trees.clone().map(|trees| db.onto(trees).unwrap());
                db
            }
            Job::Adopt => {
                let moved = match (&self.prepared.take(), &self.trees.take()) {
                    (Some(prepared), _) => db.onto_those_of(prepared).unwrap(),
                    (None, Some(trees)) => db.onto(trees.clone()).unwrap(),
                    (None, None) => return db,
                };
                self.adopted = self.begun.clone();
                moved
            }
            Job::Restart => {
                let (Some(then), Some(trees)) = (&self.adopted, db.trees()) else { return db };
                let (schema, next, instant) = (then.schema().clone(), then.next_counter(), then.last_instant());
                let mut again = Db::on_trees(trees.clone(), schema, next, instant);
                for (instant, datoms) in &self.said[trees.index_t as usize - 1..] {
                    again = again.commit(again.basis_t() + 1, *instant, datoms).unwrap();
                }
                again
            }
        }
    }
}

fn build_with(steps: &[Vec<Toggle>], jobs: &[Job]) -> (Db, Vec<Db>, [AttrId; 3], Said) {
    let (mut db, attrs) = with_attributes();
    let mut indexing = Indexing::default();
    let mut jobs = jobs.iter().cycle();
    let mut model = Said::default();
    let mut past = vec![Db::bootstrap(), db.clone()];
    for step in steps {
        let t = db.basis_t() + 1;
        let mut datoms = vec![Datom::new(
            EntityId::of_tx(t),
            db.schema().attr_of_entity(ids::TX_INSTANT).unwrap(),
            Value::Instant(Instant(t as i64 * 10)),
            t,
            true,
        )];
        let mut changed = BTreeSet::new();
        for (e, a, v) in step.iter().copied().collect::<BTreeSet<Toggle>>() {
            let (e, attr, v) = (user(e), attrs[a], value_of(a, v));
            if a == 1 {
                // One change of an entity that has one value, which makes room for another.
                if !changed.insert(e) {
                    continue;
                }
                let before = db.value(e, attr).unwrap().filter(|before| *before != v);
                datoms.extend(before.map(|before| Datom::new(e, attr, before, t, false)));
            }
            let there = db.first(&Pattern::all().e(e).a(attr).v(&v)).unwrap().is_some();
            datoms.push(Datom::new(e, attr, v, t, !there));
        }
        db = db.commit(t, Instant(t as i64 * 10), &datoms).unwrap();
        indexing.said.push((Instant(t as i64 * 10), datoms.clone()));
        db = indexing.step(db, jobs.next().copied().unwrap_or(Job::None));
        model.datoms.extend(datoms.into_iter().skip(1));
        past.push(db.clone());
    }
    (db, past, attrs, model)
}

/// What the sort of a read puts first; history adds the transaction.
fn in_order(db: &Db, pattern: &Pattern<'_>, mut datoms: Vec<Datom>) -> Vec<Datom> {
    let sort = db.sort(pattern).unwrap();
    datoms.sort_by(|x, y| sort.cmp(x, y).then(x.t().cmp(&y.t())));
    datoms
}

proptest! {
    #![proptest_config(crate::testing::cases(200))]

    #[test]
    fn rule_46_every_view_of_every_value_is_the_fold_of_the_log(
        steps in proptest::collection::vec(proptest::collection::vec((0u64..4, 0usize..3, 0u64..4), 0..8), 1..12),
        reads in proptest::collection::vec(
            (proptest::option::of(0u64..5), proptest::option::of(0usize..3), 0u64..5, 0u64..4, proptest::option::of(1u64..14)),
            12,
        ),
        jobs in jobs(),
    ) {
        let (db, past, attrs, model) = build_with(&steps, &jobs);
        let basis = db.basis_t();
        let mut views = vec![(db.clone(), basis, None, false), (db.history(), basis, None, true)];
        for t in 0..=basis {
            views.push((db.as_of(t), t, None, false));
            views.push((db.as_of(db.t_at(TimePoint::Instant(Instant(t as i64 * 10 + 9))).unwrap()), t, None, false));
            views.push((past[t as usize].clone(), t, None, false));
            views.push((db.since(t), basis, Some(t), false));
            views.push((db.since(t / 2).as_of(t), t, Some(t / 2), false));
            views.push((db.history().as_of(t).since(t / 3), t, Some(t / 3), true));
        }
        for (view, as_of, since, history) in views {
            let whole = model.seen(as_of, since, history);
            for (e, a, v, width, t) in &reads {
                // Not before the schema: a value at t 0 knows no attribute of ours.
                if as_of < 1 {
                    continue;
                }
                let value = value_of(a.unwrap_or(0), *v);
                let high = value_of(a.unwrap_or(0), *v + 2);
                let mut pattern = Pattern { e: e.map(user), a: a.map(|a| attrs[a]), v: ValueRange::Any, t: *t };
                match width {
                    0 => {}
                    1 => pattern = pattern.v(&value),
                    2 => pattern = pattern.between(Bound::Included(&value), Bound::Excluded(&high)),
                    _ => pattern = pattern.between(Bound::Excluded(&value), Bound::Unbounded),
                }
                let mut found = view.datoms(&pattern).unwrap();
                // The naive list holds the test's own facts only.
                found.retain(|datom| attrs.contains(&datom.a()));
                let expected = whole.iter().filter(|datom| fits(&pattern, datom));
                let expected = in_order(&view, &pattern, expected.cloned().collect());
                prop_assert_eq!(&found, &expected, "{:?} through {:?}", pattern, view);
                prop_assert!(view.count(&pattern).unwrap() >= found.len() as u64 || t.is_some());
            }
        }
    }
}

proptest! {
    #[test]
    fn many_probes_find_what_one_by_one_finds(
        steps in proptest::collection::vec(proptest::collection::vec((0u64..40, 0usize..3, 0u64..9), 0..80), 1..5),
        mut probes in proptest::collection::vec(0u64..40, 0..40),
        as_of in proptest::option::of(1u64..6),
        jobs in jobs(),
    ) {
        let (db, _, attrs, _) = build_with(&steps, &jobs);
        let db = as_of.map_or(db.clone(), |t| db.as_of(t));
        probes.sort();
        probes.dedup();
        let entities: Vec<EntityId> = probes.iter().copied().map(user).collect();
        for a in attrs {
            let mut found = Vec::new();
            let mut push = |i: usize, datom: &Datom| {
                found.push((i, datom.clone()));
                std::ops::ControlFlow::Continue(())
            };
            db.each_of_entities(a, &entities, &mut push).unwrap();
            if a == attrs[2] {
                db.each_of_references(a, &entities, &mut push).unwrap();
            } else {
                let values: Vec<Value> = probes.iter().map(|v| Value::Long(*v as i64)).collect();
                db.each_of_values(a, &values, &mut push).unwrap();
            }
            let mut expected = Vec::new();
            let mut add = |i: usize, pattern: Pattern<'_>| {
                expected.extend(db.datoms(&pattern).unwrap().into_iter().map(|datom| (i, datom)));
            };
            entities.iter().enumerate().for_each(|(i, e)| add(i, Pattern::all().a(a).e(*e)));
            for (i, v) in probes.iter().enumerate() {
                let v = if a == attrs[2] { Value::Ref(user(*v)) } else { Value::Long(*v as i64) };
                add(i, Pattern::all().a(a).v(&v));
            }
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn rule_42_as_of_includes_its_t_and_since_excludes_it() {
    let (db, _, attrs, _) = build(&[vec![(1, 0, 7)], vec![(1, 0, 8)]]);
    let seven = Value::Long(7);
    let seen = |db: &Db| db.first(&Pattern::all().a(attrs[0]).v(&seven)).unwrap().is_some();
    assert!(seen(&db.as_of(2)));
    assert!(!seen(&db.as_of(1)));
    assert!(!seen(&db.since(2)));
    assert!(seen(&db.since(1)));
    assert_eq!(db.as_of(1).basis_t(), 3, "rule 44: the basis is the one below the view");
}

#[test]
fn rule_44_a_t_a_transaction_entity_and_an_instant_name_the_same_moment() {
    use crate::edn::Edn;
    let (db, _, _, _) = build(&[vec![(1, 0, 7)], vec![(1, 0, 8)]]);
    let t_of = |form: Edn| db.t_at(db.time_point(&form).unwrap()).unwrap();
    assert_eq!(t_of(Edn::Long(2)), 2);
    assert_eq!(t_of(Edn::Long(EntityId::of_tx(2).as_long())), 2);
    assert_eq!(t_of(Edn::Inst(Instant(29))), 2);
    assert_eq!(t_of(Edn::Inst(Instant(9))), 0);
    // A range begins with the first transaction that is not before an instant.
    let from = |ms| db.t_from(TimePoint::Instant(Instant(ms))).unwrap();
    assert_eq!([from(i64::MIN), from(10), from(11), from(20), from(21), from(99)], [1, 1, 2, 2, 3, 4]);
    assert!(db.time_point(&Edn::Long(-1)).is_err());
    assert!(db.time_point(&Edn::Long(user(1).as_long())).is_err());
    assert!(db.time_point(&Edn::string("today")).is_err());
}

#[test]
fn trees_that_do_not_meet_the_novelty_of_a_value_are_refused() {
    let store: Arc<MemorySegments> = Arc::default();
    let (db, past, _, _) = build(&[vec![(1, 0, 7)], vec![(1, 0, 8)], vec![(1, 0, 9)]]);
    let [old, new] = [2, 3].map(|t| store.trees_of(&past[t], Sizes::default()).unwrap());
    let moved = db.onto(new.clone()).unwrap();
    // What was said between the two is in neither.
    assert_eq!(moved.onto(old.clone()).unwrap_err().code(), "db.error/fault");
    assert_eq!(moved.onto_those_of(&past[2].onto(old.clone()).unwrap()).unwrap_err().code(), "db.error/fault");
    // They hold what this value does not have.
    assert_eq!(past[2].onto(new).unwrap_err().code(), "db.error/fault");
    assert_eq!(db.onto(old).unwrap().len(), db.len());
}

#[test]
fn a_commit_that_contradicts_the_value_is_refused() {
    let (db, attrs) = with_attributes();
    let ghost = Datom::new(user(1), attrs[0], Value::Long(1), 2, false);
    assert_eq!(db.commit(2, Instant(20), &[ghost]).unwrap_err().code(), "db.error/replay");
    assert_eq!(db.commit(3, Instant(20), &[]).unwrap_err().code(), "db.error/gap");
}

/// Every part of every sort, forwards and backwards, in pieces: neither gap nor double at any border.
mod walks {
    use super::*;
    use crate::budget::Budget;

    /// A place by the numbers of its components, as many as wanted.
    type Numbers = (u64, usize, u64, u64, usize);

    fn place(sort: Sort, attrs: &[AttrId; 3], (e, a, v, t, len): Numbers) -> Place {
        let mut place = Place::default();
        for component in &sort.components()[..len] {
            match component {
                Component::E => place.e = Some(user(e)),
                Component::A => place.a = Some(attrs[a]),
                Component::V => place.v = Some(value_of(a, v)),
                Component::T => place.t = Some(t),
            }
        }
        place
    }

    /// The naive position of a datom: component by component, as far as the place goes.
    fn naive(sort: Sort, place: &Place, datom: &Datom) -> std::cmp::Ordering {
        let mut order = std::cmp::Ordering::Equal;
        for component in sort.components() {
            let next = match component {
                Component::E => place.e.map(|e| datom.e.cmp(&e)),
                Component::A => place.a.map(|a| datom.a().cmp(&a)),
                Component::V => place.v.as_ref().map(|v| datom.v.cmp(v)),
                Component::T => place.t.map(|t| datom.t().cmp(&t)),
            };
            let Some(next) = next else { break };
            order = order.then(next);
        }
        order
    }

    fn read(db: &Db, span: &Span, ready_max: usize, pieces: &[usize]) -> Vec<Datom> {
        let mut walk = db.walk_with(span.clone(), ready_max);
        let mut all = Vec::new();
        for size in pieces.iter().cycle() {
            let piece = walk.take(*size, usize::MAX, &Budget::unlimited()).unwrap();
            assert!(piece.datoms.len() <= *size);
            all.extend(piece.datoms);
            if piece.is_last {
                break;
            }
        }
        all
    }

    fn bound(kind: usize, place: Place) -> Bound<Place> {
        match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(place),
            _ => Bound::Excluded(place),
        }
    }

    fn numbers() -> impl Strategy<Value = Numbers> {
        (0u64..5, 0usize..3, 0u64..5, 0u64..14, 0usize..5)
    }

    proptest! {
        #![proptest_config(crate::testing::cases(300))]

        #[test]
        fn a_walk_is_the_sorted_part_of_the_view(
            steps in proptest::collection::vec(proptest::collection::vec((0u64..4, 0usize..3, 0u64..4), 0..8), 1..12),
            spans in proptest::collection::vec((0usize..3, numbers(), 0usize..3, numbers(), any::<bool>()), 6),
            pieces in proptest::collection::vec(1usize..7, 1..4),
            ready_max in 1usize..6,
            moment in 1u64..13,
            cut in any::<prop::sample::Index>(),
            jobs in jobs(),
        ) {
            let (db, _, attrs, _) = build_with(&steps, &jobs);
            let t = moment;
            let views = [
                db.clone(),
                db.as_of(t),
                db.since(t),
                db.since(moment / 2).as_of(t),
                db.history(),
                db.history().as_of(t),
                db.history().since(moment / 3).as_of(t),
            ];
            for view in &views {
                let whole = view.datoms(&Pattern::all()).unwrap();
                for sort in [Sort::Eavt, Sort::Aevt, Sort::Avet, Sort::Vaet] {
                    let mut rows: Vec<Datom> = whole
                        .iter()
                        .filter(|datom| match sort {
                            Sort::Avet => db.schema().attribute(datom.a()).has_avet(),
                            Sort::Vaet => datom.v.as_ref().is_some(),
                            _ => true,
                        })
                        .cloned()
                        .collect();
                    rows.sort_by(|x, y| sort.cmp(x, y).then(x.t().cmp(&y.t())));
                    for (lower, from, upper, to, reverse) in &spans {
                        let (from, to) = (place(sort, &attrs, *from), place(sort, &attrs, *to));
                        let mut expected: Vec<Datom> = rows
                            .iter()
                            .filter(|datom| {
                                let low = naive(sort, &from, datom);
                                let high = naive(sort, &to, datom);
                                (*lower == 0 || low.is_gt() || (*lower == 1 && low.is_eq()))
                                    && (*upper == 0 || high.is_lt() || (*upper == 1 && high.is_eq()))
                            })
                            .cloned()
                            .collect();
                        if *reverse {
                            expected.reverse();
                        }
                        let (lower, upper) = (bound(*lower, from), bound(*upper, to));
                        let span = Span { sort, lower, upper, reverse: *reverse, after: None };
                        let found = read(view, &span, ready_max, &pieces);
                        prop_assert_eq!(&found, &expected, "{:?} of {:?}", span, view);
                        // Going on after any datom gives the rest.
                        if !expected.is_empty() {
                            let at = cut.index(expected.len());
                            let rest = Span { after: Some(Place::from(&expected[at])), ..span };
                            prop_assert_eq!(&read(view, &rest, ready_max, &pieces), &expected[at + 1..], "{:?}", rest);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_large_group_of_ended_facts_comes_in_order_and_in_parts() {
        // 2,000 values of one entity and attribute, all of them ended: one group in every sort but VAET.
        let begun: Vec<Toggle> = (0..2000).map(|v| (1, 0, v)).collect();
        let (db, _, attrs, _) = build(&[begun.clone(), begun.clone()]);
        let (indexed, ..) = build_with(&[begun.clone(), begun], &[Job::Begin, Job::Adopt]);
        let e = user(1);
        for db in [db, indexed] {
            for (view, count) in [(db.history(), 4000), (db.as_of(2), 2000), (db.clone(), 0)] {
                for reverse in [false, true] {
                    let place = Place { e: Some(e), a: Some(attrs[0]), ..Place::default() };
                    let span = Span { reverse, ..Span::of(Sort::Eavt, place) };
                    let found = read(&view, &span, 100, &[64]);
                    assert_eq!(found.len(), count);
                    assert!(found.windows(2).all(|pair| {
                        let key = |datom: &Datom| (datom.v.clone(), datom.t());
                        if reverse { key(&pair[0]) > key(&pair[1]) } else { key(&pair[0]) < key(&pair[1]) }
                    }));
                }
            }
        }
    }

    #[test]
    fn a_walk_stops_where_its_budget_says_so() {
        struct Now;
        impl crate::budget::Interrupt for Now {
            fn stop(&self) -> Option<crate::budget::Stop> {
                Some(crate::budget::Stop::Cancelled)
            }
        }
        let steps: Vec<Vec<Toggle>> = vec![(0..3000).map(|v| (v, 0, v)).collect()];
        let (db, ..) = build(&steps);
        // Nothing is seen of 3,000 rows: the walk asks all the same.
        let span = Span::seek(Sort::Eavt, Place::default(), false);
        let budget = Budget::new(crate::budget::Limits::default(), &Now);
        let stopped = db.since(5).walk(span).take(1, usize::MAX, &budget);
        assert_eq!(stopped.unwrap_err().code(), "db.error/cancelled");
    }

    #[test]
    fn places_are_read_as_people_name_them() {
        use crate::edn;
        let (db, _, attrs, _) = build(&[vec![(1, 0, 7)]]);
        let place = |sort, text: &str| match edn::read(text).unwrap() {
            edn::Edn::Vector(components) => db.place(sort, &components),
            other => panic!("{other} is no vector"),
        };
        let id = user(1).as_long();
        assert_eq!(
            place(Sort::Aevt, &format!("[:x/plain {id} 7 2]")).unwrap(),
            Place { a: Some(attrs[1]), e: Some(user(1)), v: Some(Value::Long(7)), t: Some(2) }
        );
        assert_eq!(place(Sort::Vaet, "[:db.type/long :db/valueType]").unwrap().v, {
            db.entity_of_ident(&Keyword::new("db.type/long")).unwrap().map(Value::Ref)
        });
        let lookup = place(Sort::Eavt, "[[:db/ident :x/plain]]").unwrap();
        assert_eq!(lookup.e, Some(db.schema().attribute(attrs[1]).id));
        assert_eq!(place(Sort::Eavt, "[]").unwrap(), Place::default());
        for (sort, text, code, words) in [
            (Sort::Avet, "[:x/plain 1]", "db.error/not-indexed", ":x/plain is not in AVET"),
            (Sort::Vaet, "[:db.type/long :x/plain]", "db.error/not-a-reference", ":x/plain is not in VAET"),
            (Sort::Eavt, "[1 :x/plain 1 1 1]", "db.error/invalid-components", "EAVT has four"),
            (Sort::Aevt, "[:x/plian]", "db.error/not-an-entity", "did you mean :x/plain?"),
            (Sort::Aevt, "[:x/plain :nobody]", "db.error/not-an-entity", ":nobody names no entity"),
            (Sort::Avet, "[:x/indexed \"seven\"]", "db.error/wrong-type-for-attribute", "not a valid long"),
            (Sort::Eavt, "[1 :x/plain 1 \"then\"]", "db.error/invalid-time-point", "is no moment"),
        ] {
            let error = place(sort, text).unwrap_err();
            assert_eq!(error.code(), code, "{text}");
            assert!(error.message().contains(words), "{error}");
        }
    }
}
