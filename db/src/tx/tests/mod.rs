//! Transactions by the rules of the dialect, each under every order of its tx-data.

mod naive;
mod properties;
mod rules;
mod schema;
mod table;
mod upsert;

use super::*;
use crate::edn;
use crate::model::Keyword;
use crate::view::Pattern;
use std::collections::BTreeSet;

const NOW: Instant = Instant(1_700_000_000_000);

const SCHEMA: &str = "[
  {:db/ident :n/one :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
  {:db/ident :n/many :db/valueType :db.type/long :db/cardinality :db.cardinality/many}
  {:db/ident :n/flag :db/valueType :db.type/boolean :db/cardinality :db.cardinality/one}
  {:db/ident :p/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
  {:db/ident :p/email :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
  {:db/ident :p/nick :db/valueType :db.type/string :db/cardinality :db.cardinality/many :db/unique :db.unique/identity}
  {:db/ident :p/badge :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/value}
  {:db/ident :p/friend :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
  {:db/ident :p/friends :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
  {:db/ident :p/part :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db/isComponent true}
  {:db/ident :p/parts :db/valueType :db.type/ref :db/cardinality :db.cardinality/many :db/isComponent true}
  {:db/ident :p/twin :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
  {:db/ident :v/bigint :db/valueType :db.type/bigint :db/cardinality :db.cardinality/one}
  {:db/ident :v/float :db/valueType :db.type/float :db/cardinality :db.cardinality/one}
  {:db/ident :v/double :db/valueType :db.type/double :db/cardinality :db.cardinality/one}
  {:db/ident :v/bigdec :db/valueType :db.type/bigdec :db/cardinality :db.cardinality/one}
  {:db/ident :v/instant :db/valueType :db.type/instant :db/cardinality :db.cardinality/one}
  {:db/ident :v/keyword :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one}
  {:db/ident :v/symbol :db/valueType :db.type/symbol :db/cardinality :db.cardinality/one}
  {:db/ident :v/uuid :db/valueType :db.type/uuid :db/cardinality :db.cardinality/one}
  {:db/ident :v/uri :db/valueType :db.type/uri :db/cardinality :db.cardinality/one}
  {:db/ident :v/bytes :db/valueType :db.type/bytes :db/cardinality :db.cardinality/one}
]";

/// Entities with idents, so that tests can name them: `:x` has the value 0, `:ann` and `:bob` are people.
const DATA: &str = r#"[
  {:db/id "x" :db/ident :x :n/one 0 :n/many [1 2] :n/flag false}
  {:db/ident :y :n/one 1}
  {:db/ident :ann :p/name "Ann" :p/email "ann@x" :p/nick ["a" "annie"] :p/badge 1}
  {:db/ident :bob :p/name "Bob" :p/email "bob@x" :p/badge 2 :p/friend "x"}
]"#;

fn world() -> Db {
    let db = after(&Db::bootstrap(), SCHEMA);
    after(&db, DATA)
}

#[track_caller]
fn after(db: &Db, tx_data: &str) -> Db {
    run(db, tx_data).unwrap_or_else(|error| panic!("{error:?}\n{tx_data}")).db_after
}

fn run(db: &Db, tx_data: &str) -> Result<TxReport> {
    run_form(db, &edn::read(tx_data).unwrap())
}

fn run_form(db: &Db, tx_data: &Edn) -> Result<TxReport> {
    transact(db, tx_data, NOW, &functions(), &TxLimits::default())
}

/// The functions that the table of cases speaks of, and some for the rules.
fn functions() -> Functions {
    let mut functions = Functions::builtin();
    // [:test/inc e a]: one more than before.
    functions.register("test/inc", |db, args, _| {
        let (e, a) = (db.require_entity(&args[0])?, db.require_attribute(&args[1])?);
        let before = match db.value(e, a)? {
            Some(Value::Long(before)) => before,
            _ => 0,
        };
        Ok(forms(vec![assertion(args[0].clone(), args[1].clone(), Edn::Long(before + 1))]))
    });
    // [:test/withdraw e]: takes one from :n/one as long as :x and :y together keep at least one (an invariant).
    functions.register("test/withdraw", |db, args, _| {
        let one = Edn::keyword("n/one");
        let a = db.require_attribute(&one)?;
        let balance = |e: &Edn| -> Result<i64> {
            match db.value(db.require_entity(e)?, a)? {
                Some(Value::Long(balance)) => Ok(balance),
                _ => Ok(0),
            }
        };
        if balance(&Edn::keyword("x"))? + balance(&Edn::keyword("y"))? < 1 {
            return Err(Error::conflict("test/overdrawn", "nothing left"));
        }
        Ok(forms(vec![assertion(args[0].clone(), one, Edn::Long(balance(&args[0])? - 1))]))
    });
    // [:test/quote form…]: the forms.
    functions.register("test/quote", |_, args, _| Ok(Edn::List(args.to_vec())));
    // [:test/person name]: a new person under the tempid "p".
    functions.register("test/person", |_, args, _| {
        Ok(forms(vec![assertion(Edn::string("p"), Edn::keyword("p/name"), args[0].clone())]))
    });
    functions.register("test/now", |_, args, instant| {
        Ok(forms(vec![assertion(args[0].clone(), Edn::keyword("v/instant"), Edn::Inst(instant))]))
    });
    // [:test/down n]: calls itself n times.
    functions.register("test/down", |_, args, _| match args {
        [Edn::Long(n)] if *n > 0 => Ok(forms(vec![call("test/down", Edn::Long(n - 1))])),
        _ => Ok(Edn::Nil),
    });
    // [:test/burst x]: two of itself, for ever.
    functions.register("test/burst", |_, args, _| {
        Ok(forms(vec![call("test/burst", args[0].clone()), call("test/burst", args[0].clone())]))
    });
    functions.register("test/nonsense", |_, _, _| Ok(Edn::Long(5)));
    functions.register("test/panic", |_, args, _| Ok(args[17].clone()));
    functions
}

fn forms(forms: Vec<Edn>) -> Edn {
    Edn::Vector(forms)
}

fn assertion(e: Edn, a: Edn, v: Edn) -> Edn {
    Edn::Vector(vec![Edn::keyword("db/add"), e, a, v])
}

fn call(name: &str, arg: Edn) -> Edn {
    Edn::Vector(vec![Edn::keyword(name), arg])
}

/// What a transaction came to, without the transaction's own instant: `+[e a v]` and `-[e a v]`, sorted; existing
/// entities by ident or number, new ones by what is said of them. An error by its code.
fn outcome(result: &Result<TxReport>) -> String {
    match result {
        Ok(report) => describe(report),
        Err(error) => error.code().trim_start_matches("db.error/").to_string(),
    }
}

fn describe(report: &TxReport) -> String {
    let db = &report.db_after;
    let first_new = report.db_before.next_counter();
    let is_new = |e: EntityId| e.as_tx().is_none() && e.counter() >= first_new;
    let new: BTreeSet<EntityId> = report.datoms.iter().map(|datom| datom.e).filter(|e| is_new(*e)).collect();
    // New entities are told apart by what is said of and with them, looked at as deep as they stand in chains.
    let mut names: BTreeMap<EntityId, String> = new.iter().map(|e| (*e, "new".to_string())).collect();
    let show = |names: &BTreeMap<EntityId, String>, e: EntityId| -> String {
        match names.get(&e) {
            Some(name) => name.clone(),
            None if e == EntityId::of_tx(report.t) => "tx".into(),
            None => db.ident_of_entity(e).unwrap().map_or(e.to_string(), |ident| ident.to_string()),
        }
    };
    let line = |names: &BTreeMap<EntityId, String>, datom: &Datom, e: &str, v: Option<&str>| {
        let a = &db.schema().attribute(datom.a()).ident;
        let value = datom.v.as_ref().map_or_else(|| datom.v.to_string(), |e| show(names, e));
        format!("{}[{e} {a} {}]", if datom.added() { "+" } else { "-" }, v.unwrap_or(&value))
    };
    for _ in 0..new.len().min(6) {
        let mut said: BTreeMap<EntityId, Vec<String>> = BTreeMap::new();
        for datom in &report.datoms {
            if is_new(datom.e) {
                said.entry(datom.e).or_default().push(line(&names, datom, "_", None));
            }
            if let Some(e) = datom.v.as_ref().filter(|e| is_new(*e)) {
                said.entry(e).or_default().push(line(&names, datom, &show(&names, datom.e), Some("_")));
            }
        }
        names = said
            .into_iter()
            .map(|(e, mut lines)| {
                lines.sort();
                let text = lines.join(" ");
                (e, if text.len() < 60 { format!("({text})") } else { format!("({:x})", fingerprint(&text)) })
            })
            .collect();
    }
    let mut lines: Vec<String> = report
        .datoms
        .iter()
        .filter(|datom| db.schema().attribute(datom.a()).ident.as_str() != "db/txInstant")
        .map(|datom| line(&names, datom, &show(&names, datom.e), None))
        .collect();
    lines.sort();
    lines.join(" ")
}

fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// All orders of the forms, up to 120 of them.
fn orders(forms: &[Edn]) -> Vec<Vec<Edn>> {
    if forms.len() < 2 {
        return vec![forms.to_vec()];
    }
    let mut all = Vec::new();
    for first in 0..forms.len() {
        let mut rest = forms.to_vec();
        let form = rest.remove(first);
        for mut order in orders(&rest) {
            order.insert(0, form.clone());
            all.push(order);
            if all.len() == 120 {
                return all;
            }
        }
    }
    all
}

/// In every order of the tx-data the outcome is the one expected.
#[track_caller]
fn check(db: &Db, tx_data: &str, expected: &str) {
    let Edn::Vector(forms) = edn::read(tx_data).unwrap() else { panic!("{tx_data} is no vector") };
    for order in orders(&forms) {
        let order = Edn::Vector(order);
        let result = run_form(db, &order);
        assert_eq!(outcome(&result), expected, "\n{order}\n{result:?}");
    }
}

/// As [`check`] for an error, whose message has the words.
#[track_caller]
fn check_error(db: &Db, tx_data: &str, code: &str, words: &[&str]) {
    check(db, tx_data, code);
    let error = run(db, tx_data).unwrap_err();
    for words in words {
        assert!(error.message().contains(words), "no {words:?} in: {}", error.message());
    }
}
/// The values an entity has of an attribute.
fn values(db: &Db, e: &str, a: &str) -> Vec<Value> {
    let e = db.require_entity(&edn::read(e).unwrap()).unwrap();
    let a = db.schema().attr_of_ident(&Keyword::new(a)).unwrap();
    db.datoms(&Pattern::all().e(e).a(a)).unwrap().into_iter().map(|datom| datom.v).collect()
}
