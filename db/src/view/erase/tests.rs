//! Erasures against a naive list of datoms: every view of what is left is the fold of a log that never told of it.

use super::super::naive::Said;
use super::super::tests::{attributes_and_values, user};
use super::*;
use crate::index::segment::MemorySegments;
use crate::index::verify;
use crate::model::Instant;
use proptest::prelude::*;
use std::sync::Arc;

fn sizes() -> Sizes {
    Sizes { leaf_bytes: 1 << 16, leaf_rows: 3, branch_children: 3 }
}

fn erased(db: &Db, scope: &EraseScope) -> (Db, Erasure) {
    let store = Arc::<MemorySegments>::default();
    let db = store.index(db, sizes()).unwrap();
    let erasure = db.erasure(scope, 1 << 20, &mut || Ok(())).unwrap();
    let (merged, meta) = db.erase(&erasure, sizes(), &mut &*store, &mut || Ok(())).unwrap();
    let trees = crate::index::Trees {
        index_t: db.basis_t(),
        open: merged.open,
        closed: merged.closed,
        stats: meta.stats,
        source: store,
    };
    (db.onto(Arc::new(trees)).unwrap(), erasure)
}

/// The lives of a list of datoms, oldest first: the datom that began each, and its end.
fn lives(said: &Said) -> Vec<(Datom, Option<T>)> {
    let mut lives: Vec<(Datom, Option<T>)> = Vec::new();
    for datom in &said.datoms {
        if datom.added() {
            lives.push((datom.clone(), None));
            continue;
        }
        let same = |life: &&mut (Datom, Option<T>)| {
            life.1.is_none() && (life.0.e, life.0.a(), &life.0.v) == (datom.e, datom.a(), &datom.v)
        };
        lives.iter_mut().find(same).unwrap().1 = Some(datom.t());
    }
    lives
}

proptest! {
    #![proptest_config(crate::testing::cases(150))]

    #[test]
    fn lesson_20_erased_values_are_in_no_view(
        steps in proptest::collection::vec(proptest::collection::vec((0u64..4, 0usize..3, 0u64..4), 0..8), 1..12),
        entities in proptest::collection::btree_set(0u64..5, 0..3),
        attributes in proptest::collection::btree_set(0usize..3, 0..3),
        before in proptest::option::of(1u64..14),
    ) {
        let (db, attrs, model) = attributes_and_values(&steps);
        if entities.is_empty() && attributes.is_empty() {
            return Ok(());
        }
        let scope = EraseScope {
            entities: entities.iter().copied().map(user).collect(),
            attributes: attributes.iter().map(|a| db.schema().attribute(attrs[*a]).id).collect(),
            before,
        };
        let goes = |life: &(Datom, Option<T>)| {
            let e = entities.is_empty() || entities.iter().any(|e| user(*e) == life.0.e);
            let a = attributes.is_empty() || attributes.iter().any(|a| attrs[*a] == life.0.a());
            e && a && before.is_none_or(|before| life.0.t() < before)
        };
        let (gone, left): (Vec<_>, Vec<_>) = lives(&model).into_iter().partition(goes);
        let mut kept = Said::default();
        for (datom, to) in &left {
            kept.datoms.push(datom.clone());
            kept.datoms.extend(to.map(|to| Datom::new(datom.e, datom.a(), datom.v.clone(), to, false)));
        }
        kept.datoms.sort_by_key(|datom| datom.t());
        let (db, erasure) = erased(&db, &scope);
        prop_assert_eq!(erasure.lives(), gone.len() as u64);
        let covers = |a: AttrId| db.schema().attribute(a).has_avet();
        let verified = verify::verify(db.trees().unwrap(), &covers, 10, &mut || Ok(())).unwrap();
        prop_assert!(verified.faults.is_empty(), "{:?}", verified.faults);
        for t in 0..=db.basis_t() {
            let views = [
                (db.as_of(t), t, None, false),
                (db.since(t), db.basis_t(), Some(t), false),
                (db.history().as_of(t), t, None, true),
            ];
            for (view, as_of, since, history) in views {
                if as_of < 1 {
                    continue;
                }
                let expected = kept.seen(as_of, since, history);
                for sort in [crate::Sort::Eavt, crate::Sort::Aevt, crate::Sort::Avet, crate::Sort::Vaet] {
                    let mut found = Vec::new();
                    let mut walk = view.walk(crate::Span::seek(sort, crate::Place::default(), false));
                    loop {
                        let piece = walk.take(100, usize::MAX, &crate::budget::Budget::unlimited()).unwrap();
                        found.extend(piece.datoms);
                        if piece.is_last {
                            break;
                        }
                    }
                    found.retain(|datom| attrs.contains(&datom.a()));
                    let holds = |datom: &&Datom| match sort {
                        crate::Sort::Avet => covers(datom.a()),
                        crate::Sort::Vaet => datom.v.as_ref().is_some(),
                        _ => true,
                    };
                    let mut expected: Vec<Datom> = expected.iter().filter(holds).cloned().collect();
                    expected.sort_by(|x, y| sort.cmp(x, y).then(x.t().cmp(&y.t())));
                    prop_assert_eq!(found, expected, "{:?} through {:?}", sort, view);
                }
            }
        }
    }

    /// The log without what was erased makes the value without it.
    #[test]
    fn transactions_without_erased_lives_make_the_value_without_them(
        steps in proptest::collection::vec(proptest::collection::vec((0u64..4, 0usize..3, 0u64..4), 0..8), 1..12),
        e in 0u64..4,
        before in proptest::option::of(1u64..14),
    ) {
        let (db, attrs, model) = attributes_and_values(&steps);
        let scope = EraseScope { entities: vec![user(e)], before, ..EraseScope::default() };
        let (cleaned, erasure) = erased(&db, &scope);
        let mut again = super::super::tests::with_attributes().0;
        for t in 2..=db.basis_t() {
            let logged = |datom: &Datom| crate::log::LoggedDatom {
                e: datom.e,
                a: db.schema().attribute(datom.a()).id,
                v: datom.v.clone(),
                added: datom.added(),
            };
            let datoms = model.datoms.iter().filter(|datom| datom.t() == t).map(logged).collect();
            let tempids = vec![("secret".to_owned(), user(e))];
            let mut entry = TxEntry { t, instant: Instant(t as i64 * 10), datoms, tempids, digest: [7; 32] };
            let told = erasure.strip(&mut entry);
            prop_assert_eq!((entry.tempids.is_empty(), entry.digest == [0; 32]), (told, told));
            again = again.commit(t, entry.instant, &crate::replay::datoms(db.schema(), &entry).unwrap()).unwrap();
        }
        let all = |db: &Db| {
            let mut datoms = db.history().datoms(&Pattern::all()).unwrap();
            datoms.extend(db.datoms(&Pattern::all()).unwrap());
            datoms.retain(|datom| attrs.contains(&datom.a()));
            datoms
        };
        prop_assert_eq!(all(&cleaned), all(&again));
        for a in attrs {
            prop_assert_eq!(cleaned.stats(a).rows, again.stats(a).rows);
        }
    }
}

#[test]
fn components_go_with_their_entity_and_references_to_it_stay() {
    let text = r#"[
        {:db/ident :order/lines :db/valueType :db.type/ref :db/cardinality :db.cardinality/many :db/isComponent true}
        {:db/ident :line/note :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
        {:db/ident :order/of :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}]"#;
    let transact = |db: &Db, text: &str| {
        let data = crate::edn::read(text).unwrap();
        let functions = crate::tx::Functions::native();
        crate::tx::transact(db, &data, Instant(1), &functions, &crate::tx::TxLimits::default()).unwrap()
    };
    let db = transact(&Db::bootstrap(), text).db_after;
    let said = transact(
        &db,
        r#"[{:db/id "order" :order/lines [{:line/note "secret"} {:line/note "second"}]}
            {:db/id "person" :order/of "order"}]"#,
    );
    let [order, person] = ["order", "person"].map(|name| said.tempids[name]);
    let scope = EraseScope { entities: vec![order], ..EraseScope::default() };
    let (db, erasure) = erased(&said.db_after, &scope);
    assert_eq!((erasure.entities.len(), erasure.lives(), erasure.references), (3, 4, 1));
    assert_eq!(db.datoms(&Pattern::all().e(person)).unwrap().len(), 1);
    let note = db.schema().attr_of_ident(&"line/note".into()).unwrap();
    assert_eq!(db.history().datoms(&Pattern::all().a(note)).unwrap(), []);
    assert_eq!(db.stats(note), crate::index::AttrStats::default());
    // An attribute that is named goes alone.
    let lines = db.schema().attr_of_ident(&"order/lines".into()).unwrap();
    let lines = db.schema().attribute(lines).id;
    let scope = EraseScope { entities: vec![order], attributes: vec![lines], before: None };
    assert_eq!(said.db_after.erasure(&scope, 100, &mut || Ok(())).unwrap().lives(), 2);
    let most = said.db_after.erasure(&scope, 1, &mut || Ok(())).unwrap_err();
    assert_eq!(most.code(), "db.error/erasure-too-large");
}

#[test]
fn schema_and_instants_are_refused_by_name() {
    let db = Db::bootstrap();
    let refused = |entities: &[EntityId], attributes: &[EntityId]| {
        let scope = EraseScope { entities: entities.to_vec(), attributes: attributes.to_vec(), before: None };
        let error = db.erasure(&scope, 100, &mut || Ok(())).unwrap_err();
        assert_eq!(error.code(), "db.error/cannot-be-erased");
        error.message().to_owned()
    };
    assert!(refused(&[], &[]).contains("needs an entity or an attribute"));
    assert!(refused(&[ids::DOC], &[]).contains(":db/doc belongs to the schema"));
    assert!(refused(&[], &[ids::TX_INSTANT]).contains(":db/txInstant is never erased"));
    assert!(refused(&[user(1)], &[ids::IDENT]).contains(":db/ident is the system's own"));
    assert!(refused(&[], &[user(1)]).contains("is no attribute"));
}
