//! What inputs are made from: the case suite, golden records, and what earlier runs found.

use crate::Target;
use db::edn::{Edn, Limits, Reader};
use std::path::{Path, PathBuf};

/// The corpus of a target, in the order of the files' names.
pub fn of(target: Target) -> Vec<Vec<u8>> {
    let mut corpus = kept(target);
    match target {
        Target::Edn => corpus.extend(values_of(&["read"]).into_iter().chain(values_of(&["query"])).map(text)),
        Target::Query => corpus.extend(values_of(&["query"]).into_iter().chain(values_of(&["rules"])).map(text)),
        Target::TxData => {
            corpus.extend(values_of(&["transact"]).into_iter().map(text));
            corpus.extend(values_of(&["transactions"]).iter().flat_map(elements).map(text));
        }
        Target::Pull => corpus.extend(values_of(&["pull"]).into_iter().map(text)),
        Target::Record => {
            corpus.extend(golden("records.hex"));
            corpus.extend(golden("index.hex"));
        }
        Target::Frames => {
            corpus.extend(golden("frame.hex"));
            corpus.push(golden("records.hex").iter().flat_map(|record| frame(record)).collect());
        }
        Target::Segment => {
            let files = [
                "index/segment/golden/segments-1.hex",
                "index/segment/golden/meta-1.hex",
                "log/tree/golden/tree-1.hex",
            ];
            let segments: Vec<Vec<u8>> = files.iter().flat_map(|file| lines(file)).collect();
            // Most that is changed in compressed bytes is refused before anything is read.
            corpus.extend(segments.iter().map(|bytes| uncompressed(bytes)));
            corpus.extend(segments);
        }
        Target::Message => corpus.extend(messages()),
    }
    assert!(!corpus.is_empty(), "{target:?} has a corpus");
    corpus
}

/// The forms under the given keys of all cases, wherever they stand.
fn values_of(keys: &[&str]) -> Vec<Edn> {
    let mut found = Vec::new();
    for form in case_files() {
        collect(&form, keys, &mut found);
    }
    found
}

/// Every form of every file of the suite.
pub fn case_files() -> Vec<Edn> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases");
    let mut forms = Vec::new();
    for area in ["edn", "transact", "query", "pull", "time"] {
        for path in files(&root.join(area), "edn") {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mut reader = Reader::new(&text, Limits::default());
            while let Some(form) = reader.next_form().unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
                forms.push(form);
            }
        }
    }
    forms
}

fn collect(form: &Edn, keys: &[&str], found: &mut Vec<Edn>) {
    match form {
        Edn::Map(entries) => {
            for (key, value) in entries {
                if matches!(key, Edn::Keyword(key) if keys.contains(&key.as_str())) {
                    found.push(value.clone());
                } else {
                    collect(value, keys, found);
                }
            }
        }
        Edn::Vector(forms) => forms.iter().for_each(|form| collect(form, keys, found)),
        _ => {}
    }
}

pub fn elements(form: &Edn) -> Vec<Edn> {
    form.as_sequence().unwrap_or_default().to_vec()
}

/// Tx-data that installs an attribute, given in full or as `[ident type flag …]`.
pub fn installed(attribute: &Edn) -> Edn {
    let [ident, Edn::Keyword(value_type), flags @ ..] = &elements(attribute)[..] else {
        return Edn::Vector(vec![attribute.clone()]);
    };
    let has = |flag: &str| flags.contains(&Edn::keyword(flag));
    let cardinality = if has("many") { "db.cardinality/many" } else { "db.cardinality/one" };
    let mut entries = vec![
        (Edn::keyword("db/ident"), ident.clone()),
        (Edn::keyword("db/valueType"), Edn::keyword(&format!("db.type/{}", value_type.as_str()))),
        (Edn::keyword("db/cardinality"), Edn::keyword(cardinality)),
    ];
    if has("identity") || has("value") {
        let unique = if has("identity") { "db.unique/identity" } else { "db.unique/value" };
        entries.push((Edn::keyword("db/unique"), Edn::keyword(unique)));
    }
    let more = [("component", "db/isComponent"), ("index", "db/index")].into_iter().filter(|(flag, _)| has(flag));
    entries.extend(more.map(|(_, name)| (Edn::keyword(name), Edn::Bool(true))));
    Edn::Vector(vec![Edn::Map(entries)])
}

/// A form as text, the suite's own tags replaced by something of their kind.
fn text(form: Edn) -> Vec<u8> {
    // A text to be read stands in quotes.
    if let Edn::String(text) = &form {
        return text.as_bytes().to_vec();
    }
    untagged(&form).to_string().into_bytes()
}

pub fn untagged(form: &Edn) -> Edn {
    let all = |forms: &[Edn]| forms.iter().map(untagged).collect::<Vec<_>>();
    match form {
        Edn::Vector(forms) => Edn::Vector(all(forms)),
        Edn::List(forms) => Edn::List(all(forms)),
        Edn::Map(entries) => Edn::Map(entries.iter().map(|(key, value)| (untagged(key), untagged(value))).collect()),
        Edn::Tagged(tag, inner) => match (tag.as_str(), &**inner) {
            // Any entity will do: the first user entities exist in the world.
            ("e", Edn::String(name)) => Edn::Long((4 << 42) + 1024 + (name.len() as i64 * 7) % 40),
            ("tx", Edn::Long(t)) => Edn::Long((3 << 42) + t),
            ("ident" | "text", inner) => untagged(inner),
            ("range", _) => Edn::Vector((0..20).map(Edn::Long).collect()),
            ("repeat", _) => Edn::string("x".repeat(50)),
            _ => Edn::Tagged(tag.clone(), Box::new(untagged(inner))),
        },
        other => other.clone(),
    }
}

fn golden(name: &str) -> Vec<Vec<u8>> {
    lines(&format!("log/golden/{name}"))
}

/// A segment with its content as it is before compression.
fn uncompressed(segment: &[u8]) -> Vec<u8> {
    let plain = db::index::segment::plain(segment).unwrap_or_default();
    let mut bytes = segment[..20].to_vec();
    bytes[16] = 0;
    bytes.extend_from_slice(&plain);
    bytes
}

fn lines(file: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../db/src").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(unhex).collect()
}

fn unhex(line: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        line.trim().bytes().filter_map(|digit| (digit as char).to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

fn frame(record: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    if let Ok(parsed) = db::log::RawRecord::parse(record) {
        db::log::push_frame(&mut frame, record, &parsed.hash);
    }
    frame
}

/// Requests and answers as they travel.
fn messages() -> Vec<Vec<u8>> {
    use prost::Message;
    use proto::v1;
    let view = v1::DatabaseView {
        name: "world".into(),
        as_of: Some(v1::TimePoint { kind: Some(v1::time_point::Kind::Edn("#inst \"1992\"".into())) }),
        since: Some(v1::TimePoint { kind: Some(v1::time_point::Kind::T(3)) }),
        history: true,
        least_t: 7,
        with_tx_data: Vec::new(),
    };
    let value = |edn: &str| db::edn::read(edn).ok();
    let values = values_of(&["expected"]).into_iter().chain(value("[1 2.5 \"x\" :a/b nil #{1} {:a [1N 2M]}]"));
    let mut messages: Vec<Vec<u8>> =
        values.take(200).map(|form| v1::Value::from(&item(&untagged(&form))).encode_to_vec()).collect();
    messages.push(
        v1::QueryRequest {
            query: "[:find ?e :where [?e :a/n 1]]".into(),
            inputs: vec![v1::QueryInput {
                name: "$".into(),
                kind: Some(v1::query_input::Kind::Database(view.clone())),
            }],
            ..Default::default()
        }
        .encode_to_vec(),
    );
    messages.push(view.encode_to_vec());
    messages
}

/// A form as an element of an answer, as far as it can be one.
fn item(form: &Edn) -> db::Item {
    match form {
        Edn::Vector(forms) | Edn::List(forms) => db::Item::Vector(forms.iter().map(item).collect()),
        Edn::Set(forms) => db::Item::Set(forms.iter().map(item).collect()),
        Edn::Map(entries) => db::Item::Map(entries.iter().map(|(key, value)| (item(key), item(value))).collect()),
        Edn::Bool(boolean) => db::Item::Value(db::Value::Boolean(*boolean)),
        Edn::Long(long) => db::Item::Value(db::Value::Long(*long)),
        Edn::String(text) => db::Item::Value(db::Value::string(text)),
        Edn::Inst(instant) => db::Item::Value(db::Value::Instant(*instant)),
        _ => db::Item::Nil,
    }
}

/// Inputs that earlier runs found, and others worth keeping: files of `corpus/TARGET`, in the order of their names.
fn kept(target: Target) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name());
    let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    files(&dir, "").into_iter().map(read).collect()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| extension.is_empty() || path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}
