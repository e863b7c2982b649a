//! Every bench runs to its end on tiny inputs, and tells its figures to programs as well as to people.
//!
//! Those that start Diachron's programs need them built before (`cargo build --workspace --bins`).

use std::process::Command;

fn runs(bench: &str, program: &str) {
    runs_with(bench, program, &[]);
}

fn runs_with(bench: &str, program: &str, arguments: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let figures = dir.path().join("figures.jsonl");
    let run =
        Command::new(program).arg("--quick").args(arguments).env("DIACHRON_BENCH_OUT", &figures).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");
    assert!(out.contains("| --- |"), "{out}");
    let figures = std::fs::read_to_string(&figures).unwrap();
    assert!(!figures.is_empty());
    for line in figures.lines() {
        assert!(line.starts_with(&format!("{{\"bench\":\"{bench}\",\"what\":\"")), "{line}");
        assert!(line.ends_with("\"}") && line.contains("\"value\":"), "{line}");
    }
}

#[test]
fn durable() {
    runs("durable", env!("CARGO_BIN_EXE_bench-durable"));
}

#[test]
fn visible() {
    runs("visible", env!("CARGO_BIN_EXE_bench-visible"));
}

#[test]
fn load() {
    runs("load", env!("CARGO_BIN_EXE_bench-load"));
}

#[test]
fn followers() {
    runs("followers", env!("CARGO_BIN_EXE_bench-followers"));
}

#[test]
fn broadcast() {
    runs("broadcast", env!("CARGO_BIN_EXE_bench-broadcast"));
}

#[test]
fn query() {
    runs("query", env!("CARGO_BIN_EXE_bench-query"));
}

#[test]
fn index() {
    runs("index", env!("CARGO_BIN_EXE_bench-index"));
}

#[test]
fn segments() {
    runs("segments", env!("CARGO_BIN_EXE_bench-segments"));
}

#[test]
fn trees() {
    runs("trees", env!("CARGO_BIN_EXE_bench-trees"));
}

#[test]
fn cache() {
    runs("cache", env!("CARGO_BIN_EXE_bench-cache"));
}

#[test]
fn big() {
    runs("big", env!("CARGO_BIN_EXE_bench-big"));
}

#[test]
fn large() {
    runs("large", env!("CARGO_BIN_EXE_bench-large"));
    runs_with("bulk", env!("CARGO_BIN_EXE_bench-large"), &["--bulk"]);
}
