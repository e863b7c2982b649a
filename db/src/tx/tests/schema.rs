//! Rules 2 and 3: attributes by transaction, and what may be said of schema and system.

use super::*;
use crate::Category;
use crate::schema::{Cardinality, Unique};

fn install(extra: &str) -> String {
    format!("[{{:db/ident :new/a :db/cardinality :db.cardinality/one {extra}}}]")
}

#[test]
fn rule_2_an_attribute_is_installed_by_a_transaction() {
    let db = world();
    for value_type in crate::model::ValueType::ALL {
        let tx_data = install(&format!(":db/valueType :db.type/{}", value_type.name()));
        if value_type == crate::model::ValueType::Tuple {
            check_error(&db, &tx_data, "unsupported", &["tuples are not supported yet"]);
            continue;
        }
        let db = after(&db, &tx_data);
        let a = db.schema().attr_of_ident(&"new/a".into()).unwrap();
        let attribute = db.schema().attribute(a);
        assert_eq!(
            (attribute.value_type, attribute.cardinality, attribute.unique),
            (value_type, Cardinality::One, None)
        );
        assert_eq!(attribute.id.partition_bits(), 0);
    }
    let db = after(
        &db,
        "[{:db/id \"a\" :db/ident :new/a :db/doc \"d\" :db/isComponent true :db/index true}
          [:db/add \"a\" :db/valueType :db.type/ref] [:db/add \"a\" :db/cardinality :db.cardinality/many]
          {:db/ident :new/b :db/valueType :db.type/string :db/cardinality :db.cardinality/one
           :db/unique :db.unique/value :n/one 5}
          {:db/id \"data\" :p/name \"between\"}]",
    );
    let attribute = |name: &str| db.schema().attribute(db.schema().attr_of_ident(&name.into()).unwrap()).clone();
    let a = attribute("new/a");
    assert!(a.is_many() && a.component && a.index && a.is_ref());
    assert_eq!(attribute("new/b").unique, Some(Unique::Value));
    assert_eq!(values(&db, ":new/b", "n/one"), [Value::Long(5)]);
    after(&db, "[{:db/id :x :new/a [{:n/one 1} {:n/one 2}] :new/b \"v\"}]");
}

#[test]
fn rule_2_what_an_attribute_needs() {
    let db = world();
    let invalid = "invalid-install-attribute";
    check_error(
        &db,
        "[{:db/ident :new/a :db/valueType :db.type/long}]",
        invalid,
        &[":new/a", "without :db/cardinality"],
    );
    check_error(&db, &install(""), invalid, &["without :db/valueType"]);
    check_error(
        &db,
        "[{:db/valueType :db.type/long :db/cardinality :db.cardinality/one}]",
        invalid,
        &["without :db/ident"],
    );
    check(&db, "[{:db/ident :new/a :db/index true}]", invalid);
    check(&db, "[{:db/ident :new/a :db/unique :db.unique/value}]", invalid);
    check_error(
        &db,
        &install(":db/valueType :db.cardinality/one"),
        invalid,
        &["is no :db/valueType", ":db.type/string"],
    );
    check_error(&db, &install(":db/valueType :db.type/strin"), "not-an-entity", &[":db.type/strin"]);
    check(&db, &install(":db/valueType :x"), invalid);
    check(&db, "[{:db/ident :new/a :db/valueType :db.type/long :db/cardinality :db.type/long}]", invalid);
    check(&db, &install(":db/valueType :db.type/long :db/unique :db.cardinality/one"), invalid);
    check_error(&db, &install(":db/valueType :db.type/bytes :db/unique :db.unique/value"), invalid, &["bytes"]);
    check_error(&db, &install(":db/valueType :db.type/long :db/isComponent true"), invalid, &["only references"]);
    check(&db, &install(":db/valueType :db.type/long :db/index 1"), "wrong-type-for-attribute");
    check(&db, &install(":db/valueType \"t\""), "tempid-not-an-entity");
    let underscore = install(":db/valueType :db.type/long").replace("new/a", "new/_a");
    check_error(&db, &underscore, invalid, &["underscore"]);
    // An entity that exists does not become one.
    check_error(
        &db,
        "[{:db/id :x :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]",
        invalid,
        &["is no attribute", "new entity"],
    );
    check(
        &db,
        "[{:db/id \"datomic.tx\" :db/ident :new/a :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]",
        invalid,
    );
}

#[test]
fn rule_2_installing_what_is_there_changes_nothing() {
    let db = after(&Db::bootstrap(), SCHEMA);
    let report = run(&db, SCHEMA).unwrap();
    assert_eq!(report.datoms.len(), 1);
}

#[test]
fn rule_2_alterations_are_refused_by_name() {
    let db = world();
    let error = run(&db, "[{:db/id :n/one :db/cardinality :db.cardinality/many}]").unwrap_err();
    assert_eq!((error.category(), error.code()), (Category::Unsupported, "db.error/unsupported"));
    check_error(&db, "[{:db/id :n/one :db/index true}]", "unsupported", &["altering an attribute", ":n/one"]);
    check(&db, "[[:db/add :n/one :db/unique :db.unique/identity]]", "unsupported");
    check(&db, "[[:db/retract :p/email :db/unique :db.unique/identity]]", "unsupported");
    check(&db, "[[:db/add :n/one :db/ident :n/two]]", "unsupported");
    check(&db, "[[:db/add :p/part :db/isComponent false]]", "unsupported");
    check_error(&db, "[[:db/add :n/one :db/valueType :db.type/string]]", "invalid-alter-attribute", &["never changes"]);
    check(
        &db,
        "[{:db/ident :n/one :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]",
        "invalid-alter-attribute",
    );
    // Documentation and users' own attributes are data like any other.
    check(
        &db,
        "[{:db/id :n/one :db/doc \"a number\" :n/many 7}]",
        "+[:n/one :db/doc \"a number\"] +[:n/one :n/many 7]",
    );
}

#[test]
fn rule_2_what_comes_later_is_refused_by_name() {
    let db = world();
    for (a, value) in [
        ("db/noHistory", "true"),
        ("db.attr/preds", "my/pred"),
        ("db/tupleAttrs", "[:n/one :n/flag]"),
        ("db/tupleTypes", "[:db.type/long :db.type/long]"),
        ("db/tupleType", ":db.type/long"),
        ("db/ensure", ":spec"),
        ("db.entity/attrs", "[:n/one]"),
        ("db.entity/preds", "my/pred"),
        ("db.tx/key", "\"k\""),
        ("db/fn", "{}"),
        ("db/excise", ":x"),
        ("db.install/attribute", ":db.part/db"),
    ] {
        let tx_data = format!("[{{:db/id \"n\" :n/one 1 :{a} {value}}}]");
        let result = run(&db, &tx_data);
        assert_eq!(outcome(&result), "unsupported", "{tx_data}");
        let error = result.unwrap_err();
        assert_eq!(error.category(), Category::Unsupported);
        assert!(error.message().contains(a), "{error}");
    }
    check(&db, "[{:db/ident :new/a :db.install/_attribute :db.part/db}]", "unsupported");
}

#[test]
fn rule_3_reserved_names_are_refused() {
    let db = world();
    for name in ["db/mine", "db.mine/x", "db.type/huge"] {
        let tx_data = install(":db/valueType :db.type/long").replace("new/a", name);
        check_error(&db, &tx_data, "reserved-ident", &[name, "reserved"]);
        check(&db, &format!("[{{:db/ident :{name} :n/one 1}}]"), "reserved-ident");
        check(&db, &format!("[[:db/add :x :db/ident :{name}]]"), "reserved-ident");
    }
    check(&db, "[[:db/add :x :db/ident :dbx/fine]]", "+[:dbx/fine :db/ident :dbx/fine] -[:dbx/fine :db/ident :x]");
    check(&db, "[[:db/add :x :db/ident :mine]]", "+[:mine :db/ident :mine] -[:mine :db/ident :x]");
    check(&db, "[[:db/add :x :db/ident :y]]", "unique-conflict");
    check(&db, "[[:db/add :x :db/ident :n/one]]", "unique-conflict");
    check(&db, "[[:db/add :db/ident :db/doc \"mine\"]]", "system-entity");
    check(&db, "[[:db/add :db.type/long :n/one 1]]", "system-entity");
    check(&db, "[[:db/add :db.part/user :db/ident :mine]]", "system-entity");
    assert_eq!(run(&db, "[[:db/add :db/ident :n/one 1]]").unwrap_err().category(), Category::Forbidden);
}
