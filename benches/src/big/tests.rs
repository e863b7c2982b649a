use super::*;
use db::tx::{Functions, TxLimits, transact};
use db::{Db, Keyword, Pattern};
use std::collections::BTreeSet;

fn loaded(big: Big, naming: Option<Naming>) -> (Big, Db, [AttrId; 9]) {
    let (functions, limits) = (Functions::builtin(), TxLimits::default());
    let transact = |db: &Db, text: &str, now| {
        transact(db, &db::edn::read(text).unwrap(), now, &functions, &limits).unwrap().db_after
    };
    let mut db = transact(&Db::bootstrap(), SCHEMA, Instant(0));
    let attributes = ATTRIBUTES.map(|ident| db.schema().attr_of_ident(&Keyword::new(ident)).unwrap());
    assert!(attributes.is_sorted());
    let big = big.with_first(db.next_counter());
    let instant = db.schema().attr_of_ident(&Keyword::new("db/txInstant")).unwrap();
    let mut facts = Vec::new();
    for transaction in 0..big.transactions() {
        facts.clear();
        big.transaction(transaction, &mut facts);
        let (t, now) = (db.basis_t() + 1, big.instant(transaction));
        db = match naming {
            Some(naming) => transact(&db, &big.text(transaction, &facts, naming), now),
            None => {
                let mut datoms = big.datoms_of_transaction(&facts, t, &attributes);
                datoms.push(Datom::new(EntityId::of_tx(t), instant, Value::Instant(now), t, true));
                db.commit(t, now, &datoms).unwrap()
            }
        };
    }
    (big, db, attributes)
}

fn values(db: &Db, e: EntityId, a: AttrId) -> Vec<Value> {
    db.datoms(&Pattern::all().e(e).a(a)).unwrap().into_iter().map(|datom| datom.v).collect()
}

/// Of all that is said, by t of transaction 0.
const FIRST_T: u64 = 2;

#[test]
fn what_is_said_to_be_true_is_what_a_database_answers_now_and_then() {
    let (big, db, attributes) = loaded(Big::new(3, 700).with_items_each(20), None);
    let last = big.transactions() - 1;
    let mut datoms = 0;
    for item in 0..big.items() {
        for (a, number) in attributes.iter().enumerate() {
            for transaction in [0, item / 20, last / 2, last - 1, last] {
                let then = db.as_of(FIRST_T + transaction);
                let found = values(&then, big.entity(item), *number);
                assert_eq!(found, big.values(item, a, transaction), "{item} {a} {transaction}");
            }
        }
        let mut lives = Vec::new();
        big.lives(item, last, &mut lives);
        let said = |life: &Life| {
            let at = |at: u64, added| (life.a, life.v.to_string(), FIRST_T + at, added);
            std::iter::once(at(life.from, true)).chain(life.to.map(|to| at(to, false))).collect::<Vec<_>>()
        };
        let said: BTreeSet<_> = lives.iter().flat_map(said).collect();
        let place = |a: AttrId| attributes.iter().position(|known| *known == a).unwrap();
        let history = db.history().datoms(&Pattern::all().e(big.entity(item))).unwrap();
        datoms += history.len() as u64;
        let found: BTreeSet<_> =
            history.iter().map(|datom| (place(datom.a()), datom.v.to_string(), datom.t(), datom.added())).collect();
        assert_eq!(found, said, "{item}");
    }
    assert_eq!(datoms, big.datoms());
}

#[test]
fn tx_data_in_either_naming_comes_to_the_same_datoms() {
    let big = || Big::new(5, 300).with_items_each(20);
    let (_, by_datoms, _) = loaded(big(), None);
    let history = |db: &Db| db.history().datoms(&Pattern::all()).unwrap();
    let expected = history(&by_datoms);
    assert!(expected.len() > 3000);
    for naming in [Naming::Numbers, Naming::Ids] {
        assert!(history(&loaded(big(), Some(naming)).1) == expected, "{naming:?}");
    }
}

#[test]
fn values_are_skewed_versions_are_many_and_the_size_is_as_asked_for() {
    let big = Big::of_datoms(1, 300_000);
    assert!((290_000..310_000).contains(&big.datoms()), "{}", big.datoms());
    let last = big.transactions() - 1;
    let versions: Vec<u64> = (0..big.items()).map(|item| big.version(item, last).unwrap()).collect();
    assert!(versions.iter().filter(|k| **k == 0).count() as u64 > big.items() / 3);
    assert!(versions.iter().filter(|k| **k >= 9).count() as u64 > big.items() / 30);
    let to_one = (1..big.items()).filter(|item| big.values(*item, MAKER, last) == [Value::Ref(big.entity(0))]).count();
    assert!(to_one as u64 > big.items() / 30, "{to_one}");
    let mut facts = Vec::new();
    (0..=last).for_each(|transaction| big.transaction(transaction, &mut facts));
    assert_eq!(facts.len() as u64, big.datoms());
}
