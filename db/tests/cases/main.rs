//! Runs the case suite: every file under `tests/cases`, whose README describes the format.
//!
//! Cases say what the rules mean, as data: EDN in, EDN out. Beside what a case asks for, each is held to properties
//! that need no expectation of their own: a transaction gives the same outcome whatever the order of its forms, a
//! query whatever the order of its clauses, nested clauses and rules, and the same over the value as of its own
//! basis; the value as of each t is the value that stood there at t.

mod case;
mod functions;
mod order;
mod run;
mod world;

use case::Case;
use std::path::PathBuf;

fn area(name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/cases").join(name);
    let cases = Case::load(&folder);
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    let mut runs = 0;
    let mut failures = Vec::new();
    for case in &cases {
        match run::run(case) {
            Ok(count) => runs += count,
            Err(failure) => failures.push(format!("{} (rule {}) in {}\n{failure}", case.name, case.rule, case.file)),
        }
    }
    println!("{name}: {} cases in {runs} runs, {} failed", cases.len(), failures.len());
    assert!(failures.is_empty(), "{} of {} cases failed\n\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}

#[test]
fn forms_are_read_and_written_as_the_cases_say() {
    area("edn");
}

#[test]
fn transactions_do_what_the_cases_say() {
    area("transact");
}

#[test]
fn queries_answer_what_the_cases_say() {
    area("query");
}

#[test]
fn pulls_give_what_the_cases_say() {
    area("pull");
}

#[test]
fn views_of_time_show_what_the_cases_say() {
    area("time");
}
