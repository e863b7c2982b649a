//! Real questions about real data, answers computed by another engine: the data sets and what they mean are
//! described beside them. Skipped with a message where the data is not there.

use diachron_db as db;

use db::budget::Budget;
use db::edn::{self, Edn, Limits, Reader};
use db::query::{self, Input, Query, Shape};
use db::tx::{Functions, TxLimits, transact};
use db::{Db, Instant, TimePoint};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

fn data(set: &str) -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(set);
    if dir.join("questions.json").exists() {
        return Some(dir);
    }
    eprintln!("skipped: no data set at {}", dir.display());
    None
}

/// Far later than any instant in the data.
const NOW: Instant = Instant(4_102_444_800_000);

fn load(dir: &std::path::Path) -> Db {
    let functions = Functions::builtin();
    let limits = TxLimits::default();
    let mut db = Db::bootstrap();
    for file in ["schema.edn", "tx.edn"] {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        let mut reader = Reader::new(&text, Limits::default());
        while let Some(form) = reader.next_form().unwrap() {
            db = transact(&db, &form, NOW, &functions, &limits).unwrap().db_after;
        }
    }
    db
}

fn view(db: &Db, form: &Json) -> Db {
    if let Some(instant) = form.get("as-of") {
        let instant = Instant::parse(instant.as_str().unwrap()).unwrap();
        return db.as_of(db.t_at(TimePoint::Instant(instant)).unwrap());
    }
    if form.get("history").is_some() { db.history() } else { db.clone() }
}

fn json_of(form: &Edn) -> String {
    match form {
        Edn::String(text) => Json::String(text.to_string()).to_string(),
        Edn::Keyword(keyword) => Json::String(keyword.to_string()).to_string(),
        Edn::Inst(instant) => Json::String(instant.to_string()).to_string(),
        other => other.to_string(),
    }
}

fn ask(db: &Db, question: &Json) -> Vec<String> {
    let query = Query::parse(&edn::read(question["query"].as_str().unwrap()).unwrap()).unwrap();
    let mut values = question.get("inputs").and_then(Json::as_array).into_iter().flatten();
    let inputs: Vec<Input> = query
        .inputs()
        .map(|form| {
            let name = form.to_string();
            if let Some(of) = question["dbs"].get(&name) {
                Input::Db(view(db, of))
            } else if name == "%" {
                Input::Rules(edn::read(question["rules"].as_str().unwrap()).unwrap())
            } else {
                Input::Value(edn::read(values.next().unwrap().as_str().unwrap()).unwrap())
            }
        })
        .collect();
    let started = std::time::Instant::now();
    let answer = query::query(&query, &inputs, &Budget::unlimited()).unwrap();
    eprintln!("{} in {:?}", question["id"], started.elapsed());
    let shape = match answer.shape {
        Shape::Relation => "relation",
        Shape::Collection => "collection",
        Shape::Tuple => "tuple",
        Shape::Scalar => "scalar",
    };
    assert_eq!(question["shape"], shape, "{}", question["id"]);
    let rows = answer.rows.iter().map(|row| {
        let items: Vec<String> = row.iter().map(|item| json_of(&Edn::from(item))).collect();
        format!("[{}]", items.join(","))
    });
    let mut lines: Vec<String> = rows.collect();
    lines.sort();
    lines.dedup();
    lines
}

fn check(set: &str) {
    let Some(dir) = data(set) else { return };
    let started = std::time::Instant::now();
    let db = load(&dir);
    eprintln!("{set} loaded in {:?}", started.elapsed());
    let questions: Json = serde_json::from_slice(&std::fs::read(dir.join("questions.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for question in questions["questions"].as_array().unwrap() {
        let lines = ask(&db, question);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let digest: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        if question["sha256"] != digest.as_str() {
            let first: Vec<&String> = lines.iter().take(10).collect();
            wrong.push(format!(
                "{}: {} rows, beginning {first:?}, not {}",
                question["id"],
                lines.len(),
                question["rows"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_questions_about_the_world_are_answered_right() {
    check("world");
}

#[test]
fn the_questions_about_congress_are_answered_right() {
    check("congress");
}
