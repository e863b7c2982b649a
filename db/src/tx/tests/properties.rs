//! Whatever the tx-data: its order does not matter, what was committed replays, and nothing panics.

use super::*;
use crate::Item;
use crate::log::{Body, DatabaseId, EncodedBody, RawRecord, record_bytes};
use crate::replay::{self, Replay, create_body};
use proptest::prelude::*;

/// Forms that meet each other often: few entities, few attributes, few values.
fn form() -> impl Strategy<Value = String> {
    use prop::sample::select;
    let known = || select(vec![":x", ":y", ":ann", ":bob", "[:p/email \"ann@x\"]"]);
    // Tempids that most transactions say something about, and now and then what names nothing.
    let entity = || {
        prop_oneof![
            8 => known(),
            8 => select(vec!["\"a\"", "\"b\""]),
            1 => select(vec!["\"c\"", "\"datomic.tx\"", "[:p/email \"new@x\"]"]),
        ]
    };
    let reference = || select(vec!["p/friend", "p/friends", "p/part", "p/parts", "p/twin"]);
    let long = || select(vec!["n/one", "n/many", "p/badge"]);
    let text = || select(vec!["p/name", "p/email", "p/nick"]);
    let word = || select(vec!["ann@x", "bob@x", "new@x", "a", "b", "Ann"]);
    let op = || select(vec!["db/add", "db/add", "db/add", "db/retract"]);
    prop_oneof![
        3 => (op(), entity(), reference(), entity()).prop_map(|(op, e, a, v)| format!("[:{op} {e} :{a} {v}]")),
        3 => (op(), entity(), long(), 0..3).prop_map(|(op, e, a, v)| format!("[:{op} {e} :{a} {v}]")),
        4 => (op(), entity(), text(), word()).prop_map(|(op, e, a, v)| format!("[:{op} {e} :{a} \"{v}\"]")),
        2 => (entity(), word(), 0..3, entity()).prop_map(|(e, word, n, v)| format!(
            "{{:db/id {e} :p/nick [\"{word}\" \"n\"] :n/many [{n} 7] :p/friends [{v}]}}"
        )),
        2 => (select(vec!["a", "b"]), word()).prop_map(|(e, word)| format!("{{:db/id \"{e}\" :p/nick \"{word}\"}}")),
        2 => (word(), word(), 0..3).prop_map(|(x, y, n)| format!(
            "{{:p/email \"{x}\" :p/friend {{:p/email \"{y}\"}} :p/parts [{{:n/one {n}}}]}}"
        )),
        2 => (entity(), reference(), entity())
            .prop_map(|(e, a, v)| format!("{{:db/id {e} :{} {v}}}", a.replace('/', "/_"))),
        1 => (entity(), prop_oneof![long(), text(), reference()]).prop_map(|(e, a)| format!("[:db/retract {e} :{a}]")),
        1 => known().prop_map(|e| format!("[:db/retractEntity {e}]")),
        1 => (known(), 0..3).prop_map(|(e, new)| format!("[:db/cas {e} :n/one 0 {new}]")),
        1 => known().prop_map(|e| format!("[:test/inc {e} :n/one]")),
        1 => entity().prop_map(|e| format!("[:test/quote [:test/person \"P\"] {{:db/id \"p\" :p/friend {e} :n/one 1}}]")),
    ]
}

/// A transaction and another order of it.
fn shuffled() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    prop::collection::vec(form(), 1..7).prop_flat_map(|forms| (Just(forms.clone()), Just(forms).prop_shuffle()))
}

proptest! {
    #![proptest_config(crate::testing::cases(3000))]

    #[test]
    fn every_order_gives_the_same_result_or_the_same_error((one, other) in shuffled()) {
        let db = world();
        let (one, other) = (format!("[{}]", one.join(" ")), format!("[{}]", other.join(" ")));
        let (x, y) = (run(&db, &one), run(&db, &other));
        prop_assert_eq!(outcome(&x), outcome(&y), "\n{}\n{}\n{:?}\n{:?}", one, other, x, y);
        if let (Ok(x), Ok(y)) = (x, y) {
            prop_assert_eq!(x.db_after.next_counter(), y.db_after.next_counter());
        }
    }

    #[test]
    fn what_was_committed_replays_to_the_same_value(transactions in prop::collection::vec(prop::collection::vec(form(), 1..4), 1..12)) {
        let (mut db, mut replayed) = (world(), world());
        for forms in transactions {
            let Ok(report) = run(&db, &format!("[{}]", forms.join(" "))) else { continue };
            db = report.db_after.clone();
            replayed = replayed.commit(report.t, report.instant, &report.datoms).unwrap();
            prop_assert_eq!(db.next_counter(), replayed.next_counter());
            prop_assert_eq!(db.last_instant(), replayed.last_instant());
            let all = Pattern::all();
            prop_assert_eq!(db.datoms(&all).unwrap(), replayed.datoms(&all).unwrap());
            prop_assert_eq!(db.history().datoms(&all).unwrap(), replayed.history().datoms(&all).unwrap());
            holds(&report)?;
        }
    }

    #[test]
    fn rule_45_with_gives_the_datoms_that_transacting_gives_apart_from_the_instant(
        transactions in prop::collection::vec(prop::collection::vec(form(), 1..4), 1..8),
        later in 1i64..100_000,
    ) {
        // Committed one after the other at their own moments; speculated all at one moment, later, from the value
        // before them, which is kept.
        let before = world();
        let (mut committed, mut speculative) = (before.clone(), before.clone());
        let a = before.schema().attr_of_ident(&Keyword::new("db/txInstant")).unwrap();
        let but_instant = |report: &TxReport| -> Vec<Datom> {
            report.datoms.iter().filter(|datom| datom.a() != a).cloned().collect()
        };
        for (number, forms) in transactions.iter().enumerate() {
            let tx_data = edn::read(&format!("[{}]", forms.join(" "))).unwrap();
            let at = |ms: i64| Instant(NOW.0 + ms);
            let apply = |db: &Db, now| transact(db, &tx_data, now, &functions(), &TxLimits::default());
            let (done, with) = (apply(&committed, at(number as i64 * 10)), apply(&speculative, at(100_000 + later)));
            match (done, with) {
                (Ok(done), Ok(with)) => {
                    prop_assert_eq!((done.t, but_instant(&done)), (with.t, but_instant(&with)));
                    prop_assert_eq!(&done.tempids, &with.tempids);
                    prop_assert_eq!(done.db_after.next_counter(), with.db_after.next_counter());
                    // The one that is committed is read back from its log, as every other reader has it.
                    committed = committed.commit(done.t, done.instant, &done.datoms).unwrap();
                    speculative = with.db_after;
                }
                (Err(done), Err(with)) => prop_assert_eq!(done.code(), with.code()),
                (done, with) => return Err(TestCaseError::fail(format!("{done:?}\n{with:?}"))),
            }
        }
        let facts = |db: &Db| -> Vec<Datom> {
            db.history().datoms(&Pattern::all()).unwrap().into_iter().filter(|datom| datom.a() != a).collect()
        };
        prop_assert_eq!(facts(&committed), facts(&speculative));
        // Rule 43: as-of looks at what was speculated, and shows the past as it was.
        let then = speculative.as_of(before.basis_t());
        prop_assert_eq!(then.datoms(&Pattern::all()).unwrap(), before.datoms(&Pattern::all()).unwrap());
        prop_assert_eq!(before.basis_t(), world().basis_t());
    }

    #[test]
    fn nothing_panics_whatever_the_form(tx_data in any_form(), wrapped in any::<bool>()) {
        let tx_data = if wrapped { Edn::Vector(vec![tx_data]) } else { tx_data };
        if let Err(error) = run_form(&world(), &tx_data) {
            prop_assert!(error.message().len() < 5000);
            prop_assert_ne!(error.code(), "db.error/replay");
        }
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(400))]

    #[test]
    fn lesson_01_a_value_built_from_the_log_is_the_value_at_every_t(
        transactions in prop::collection::vec(prop::collection::vec(form(), 1..4), 1..12),
        group in 1usize..4,
    ) {
        let id = DatabaseId([7; 16]);
        let (mut db, mut log, mut from_log) = (Db::bootstrap(), Vec::new(), Replay::new(id));
        let create = create_body("p").encode([0; 16]).unwrap();
        append(&mut from_log, &create)?;
        let texts = [SCHEMA.to_owned(), DATA.to_owned()].into_iter();
        let texts = texts.chain(transactions.iter().map(|forms| format!("[{}]", forms.join(" "))));
        let mut values = Vec::new();
        for text in texts {
            let Ok(report) = run(&db, &text) else { continue };
            log.push(replay::entry(&report, [0; 32]));
            db = report.db_after;
            values.push(db.clone());
        }
        // Several transactions to a record, as a busy transactor writes them.
        for entries in log.chunks(group) {
            append(&mut from_log, &Body::Tx(entries.to_vec()).encode([1; 16]).unwrap())?;
            let (found, value) = (from_log.db(), &values[from_log.chain().t() as usize - 1]);
            prop_assert_eq!(found.basis_t(), value.basis_t());
            prop_assert_eq!(found.next_counter(), value.next_counter());
            prop_assert_eq!(found.last_instant(), value.last_instant());
            let all = Pattern::all();
            prop_assert_eq!(found.datoms(&all).unwrap(), value.datoms(&all).unwrap());
            prop_assert_eq!(found.history().datoms(&all).unwrap(), value.history().datoms(&all).unwrap());
        }
        // And as of every t it is the value that was there.
        for (t, value) in (1..).zip(&values) {
            let then = from_log.db().as_of(t);
            prop_assert_eq!(then.datoms(&Pattern::all()).unwrap(), value.datoms(&Pattern::all()).unwrap(), "t {}", t);
        }
    }

    #[test]
    fn what_was_committed_says_nothing_new_when_it_is_said_again(transactions in prop::collection::vec(prop::collection::vec(form(), 1..4), 1..6)) {
        let mut db = world();
        for forms in transactions {
            let Ok(report) = run(&db, &format!("[{}]", forms.join(" "))) else { continue };
            db = report.db_after;
            let again = report.datoms.iter().filter(|datom| datom.e != EntityId::of_tx(report.t)).map(|datom| {
                let a = db.schema().attribute(datom.a()).ident.clone();
                let op = if datom.added() { "db/add" } else { "db/retract" };
                Edn::Vector(vec![Edn::keyword(op), Edn::Long(datom.e.as_long()), Edn::Keyword(a), Edn::from(&Item::Value(datom.v.clone()))])
            });
            let again = run_form(&db, &Edn::Vector(again.collect())).unwrap();
            let said: Vec<_> = again.datoms.iter().map(|datom| db.schema().attribute(datom.a()).ident.to_string()).collect();
            prop_assert_eq!(said, vec![":db/txInstant".to_string()]);
        }
    }
}

/// Puts a record behind the others, by way of its bytes.
fn append(replay: &mut Replay, body: &EncodedBody) -> Result<(), TestCaseError> {
    let header = replay.chain().next(body, 1, NOW);
    let bytes = record_bytes(&header, body);
    replay
        .apply(&RawRecord::parse(&bytes).unwrap(), None)
        .map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
    Ok(())
}

/// What is true of every transaction that was taken.
fn holds(report: &TxReport) -> Result<(), TestCaseError> {
    let db = &report.db_after;
    let mut said = BTreeSet::new();
    for datom in &report.datoms {
        let attribute = db.schema().attribute(datom.a());
        prop_assert!(said.insert((datom.e, datom.a(), datom.v.clone())), "said twice: {:?}", datom);
        let pattern = Pattern::all().e(datom.e).a(datom.a()).v(&datom.v);
        prop_assert_eq!(db.first(&pattern).unwrap().is_some(), datom.added());
        prop_assert_eq!(report.db_before.first(&pattern).unwrap().is_some(), !datom.added());
        if !attribute.is_many() {
            prop_assert!(db.datoms(&Pattern::all().e(datom.e).a(datom.a())).unwrap().len() <= 1);
        }
        if attribute.unique.is_some() {
            prop_assert!(db.datoms(&Pattern::all().a(datom.a()).v(&datom.v)).unwrap().len() <= 1);
        }
    }
    Ok(())
}

/// Any form, with words that mean something strewn in.
fn any_form() -> impl Strategy<Value = Edn> {
    let words = [
        ":db/add",
        ":db/retract",
        ":db/id",
        ":db/cas",
        ":db/retractEntity",
        ":db/ident",
        ":db/valueType",
        ":db/txInstant",
        ":db.type/long",
        ":db/cardinality",
        ":db.cardinality/one",
        ":n/one",
        ":n/many",
        ":p/friend",
        ":p/_friends",
        ":p/part",
        ":p/email",
        ":p/twin",
        ":x",
        ":nobody",
        ":test/quote",
        ":test/inc",
        ":test/burst",
        "\"ann@x\"",
        "\"t\"",
        "\"datomic.tx\"",
        "0",
        "-1",
        "1025",
        "13194139533313",
        "9223372036854775807",
        "1.5",
        "nil",
        "true",
        "##NaN",
        "1N",
        "1.5M",
        "1/2",
        "\\a",
        "sym",
        "#inst \"2024\"",
        "#uuid \"00112233-4455-6677-8899-aabbccddeeff\"",
        "#uri \"u\"",
        "#bytes \"AA==\"",
        "#foo 5",
    ];
    let leaf = prop::sample::select(words.to_vec()).prop_map(|text| edn::read(text).unwrap());
    let op = prop::sample::select(words[..5].to_vec()).prop_map(|text| edn::read(text).unwrap());
    leaf.prop_recursive(5, 60, 6, move |form| {
        prop_oneof![
            prop::collection::vec(form.clone(), 0..6).prop_map(Edn::Vector),
            (op.clone(), prop::collection::vec(form.clone(), 2..5)).prop_map(|(op, mut forms)| {
                forms.insert(0, op);
                Edn::Vector(forms)
            }),
            prop::collection::vec(form.clone(), 0..4).prop_map(Edn::List),
            prop::collection::vec(form.clone(), 0..4).prop_map(Edn::Set),
            prop::collection::vec((form.clone(), form), 0..4).prop_map(Edn::Map),
        ]
    })
}
