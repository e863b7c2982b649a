//! The questions that come with the data set.

use super::Outcome;
use super::ask::{Call, Expected};
use serde_json::Value as Json;
use std::path::Path;

pub(super) struct Question {
    pub(super) text: String,
    pub(super) call: Call,
    pub(super) expected: Expected,
}

/// Reads `questions.json`.
pub(super) fn read(path: &Path) -> Outcome<Vec<Question>> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let json: Json = serde_json::from_str(&text)?;
    let questions = json["questions"].as_array().ok_or("questions.json has no questions")?;
    questions.iter().map(question).collect()
}

fn question(json: &Json) -> Outcome<Question> {
    let text_of = |key: &str| json[key].as_str().ok_or_else(|| format!("a question has no {key}: {json}"));
    let mut call = Call { query: text_of("query")?.to_owned(), ..Call::default() };
    call.rules = json["rules"].as_str().map(str::to_owned);
    for input in json["inputs"].as_array().into_iter().flatten() {
        call = call.arg(input.as_str().ok_or("an input is no text")?);
    }
    for (source, time) in json["dbs"].as_object().ok_or("a question has no dbs")? {
        let time = match (time["as-of"].as_str(), time["since"].as_str(), time["history"].as_bool()) {
            (Some(instant), _, _) => instant.to_owned(),
            (_, Some(instant), _) => format!("since:{instant}"),
            (_, _, Some(true)) => "history".to_owned(),
            _ => String::new(),
        };
        call = call.source(source, &time);
    }
    let rows = json["rows"].as_u64().ok_or("a question has no rows")? as usize;
    let expected = Expected::Hash { rows, sha256: text_of("sha256")?.to_owned() };
    Ok(Question { text: text_of("text")?.to_owned(), call, expected })
}
