//! Cases as read from their files.

use diachron_db::edn::{Edn, Limits, Reader};
use std::path::Path;

pub struct Case {
    pub file: String,
    pub name: String,
    pub rule: String,
    /// The schemas and transactions to set up, those of the file first.
    pub setup: Vec<Setup>,
    form: Edn,
}

pub enum Setup {
    /// Attributes, in short or in full.
    Schema(Edn),
    Transaction(Edn),
}

const KEYS: [&str; 22] = [
    "name",
    "rule",
    "doc",
    "schema",
    "transactions",
    "cases",
    "read",
    "written",
    "transact",
    "with",
    "query",
    "queries",
    "inputs",
    "rules",
    "views",
    "full-scan",
    "pull",
    "now",
    "expected",
    "error",
    "warnings",
    "ordered",
];

impl Case {
    /// Every case of the files in a folder, in the order of their names.
    pub fn load(folder: &Path) -> Vec<Case> {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "edn"))
            .collect();
        files.sort();
        let mut cases = Vec::new();
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let file = format!("{}/{}", folder.file_name().unwrap().display(), path.file_name().unwrap().display());
            let mut reader = Reader::new(&text, Limits::default());
            while let Some(form) = reader.next_form().unwrap_or_else(|error| panic!("{file}: {error}")) {
                add(&mut cases, &file, &form, &[]);
            }
        }
        cases
    }

    pub fn get(&self, key: &str) -> Option<&Edn> {
        self.form.get(key)
    }
}

fn add(cases: &mut Vec<Case>, file: &str, form: &Edn, shared: &[&Edn]) {
    if let Some(forms) = form.as_sequence() {
        return forms.iter().for_each(|form| add(cases, file, form, shared));
    }
    let Edn::Map(entries) = form else { panic!("{file}: a case is a map, not {form}") };
    for (key, _) in entries {
        let known = matches!(key, Edn::Keyword(keyword) if KEYS.contains(&keyword.as_str()));
        assert!(known, "{file}: {key} is no key of a case in {form}");
    }
    let mut shared = shared.to_vec();
    shared.push(form);
    if let Some(inner) = form.get("cases") {
        return add(cases, file, inner, &shared);
    }
    let name = form.get("name").unwrap_or_else(|| panic!("{file}: no :name in {form}"));
    let rule = form.get("rule").or_else(|| shared.iter().rev().find_map(|form| form.get("rule")));
    let mut setup = Vec::new();
    for form in &shared {
        setup.extend(form.get("schema").cloned().map(Setup::Schema));
        let transactions = form.get("transactions").and_then(Edn::as_sequence).unwrap_or_default();
        setup.extend(transactions.iter().cloned().map(Setup::Transaction));
    }
    cases.push(Case {
        file: file.to_string(),
        name: match name {
            Edn::String(text) => text.to_string(),
            other => other.to_string(),
        },
        rule: rule.unwrap_or_else(|| panic!("{file}: no :rule in {form}")).to_string(),
        setup,
        form: form.clone(),
    });
}
