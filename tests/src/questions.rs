//! Data sets with questions whose answers another engine computed: asked of a peer, compared by their hash.
//!
//! A row is written as a compact JSON array; the distinct rows, sorted, each with a line feed, give the SHA-256.

use crate::{Client, PATIENCE};
use db::edn::Edn;
use db::{Error, Result};
use proto::v1;
use proto::v1::query_input::Kind;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The folder of a data set; None, with a message, where it is not there.
pub fn data_set(name: &str) -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if dir.join("questions.json").exists() {
        return Some(dir);
    }
    println!("skipped: no data set at {}", dir.display());
    None
}

/// Asks every question of a set; gives how many there were and what was wrong.
pub async fn ask_all(client: &mut Client, database: &str, set: &Path) -> (usize, Vec<String>) {
    let text = std::fs::read(set.join("questions.json")).expect("the data set has questions");
    let questions: Json = serde_json::from_slice(&text).expect("questions are JSON");
    let questions = questions["questions"].as_array().expect("questions are a list").clone();
    let mut wrong = Vec::new();
    for question in &questions {
        let (id, started) = (&question["id"], Instant::now());
        match ask(client, database, question).await {
            Ok(lines) => {
                println!("{id}: {} rows in {:?}", lines.len(), started.elapsed());
                let first: Vec<&String> = lines.iter().take(5).collect();
                if question["sha256"] != sha256(&lines).as_str() {
                    wrong.push(format!("{id}: {} rows, not {}: {first:?} …", lines.len(), question["rows"]));
                }
            }
            Err(error) => wrong.push(format!("{id}: {error}")),
        }
    }
    (questions.len(), wrong)
}

async fn ask(client: &mut Client, database: &str, question: &Json) -> Result<Vec<String>> {
    let text = |json: &Json| json.as_str().expect("a text").to_owned();
    let mut inputs = Vec::new();
    for (name, view) in question["dbs"].as_object().expect("databases by name") {
        let as_of = view
            .get("as-of")
            .map(|instant| v1::TimePoint { kind: Some(v1::time_point::Kind::Edn(format!("#inst {instant}"))) });
        let view = v1::DatabaseView {
            name: database.into(),
            as_of,
            history: view.get("history").is_some(),
            ..Default::default()
        };
        inputs.push(v1::QueryInput { name: name.clone(), kind: Some(Kind::Database(view)) });
    }
    if let Some(rules) = question.get("rules") {
        inputs.push(v1::QueryInput { name: "%".into(), kind: Some(Kind::Edn(text(rules))) });
    }
    for input in question.get("inputs").and_then(Json::as_array).into_iter().flatten() {
        inputs.push(v1::QueryInput { name: String::new(), kind: Some(Kind::Edn(text(input))) });
    }
    let answer = client.ask(&text(&question["query"]), inputs, PATIENCE * 4).await?;
    let rows = match question["shape"].as_str() {
        Some("relation") => sequence(&answer)?,
        Some("collection") => sequence(&answer)?.into_iter().map(|value| Edn::Vector(vec![value])).collect(),
        Some("tuple") => vec![answer],
        _ => vec![Edn::Vector(vec![answer])],
    };
    let mut lines: Vec<String> = rows.iter().map(json).collect();
    lines.sort();
    lines.dedup();
    Ok(lines)
}

fn sequence(answer: &Edn) -> Result<Vec<Edn>> {
    let forms = answer.as_sequence().ok_or_else(|| Error::fault(format!("{answer} is no collection")))?;
    Ok(forms.to_vec())
}

fn json(form: &Edn) -> String {
    match form {
        Edn::Vector(forms) => format!("[{}]", forms.iter().map(json).collect::<Vec<_>>().join(",")),
        Edn::String(text) => Json::String(text.to_string()).to_string(),
        Edn::Keyword(keyword) => Json::String(keyword.to_string()).to_string(),
        Edn::Inst(instant) => Json::String(instant.to_string()).to_string(),
        other => other.to_string(),
    }
}

fn sha256(lines: &[String]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
