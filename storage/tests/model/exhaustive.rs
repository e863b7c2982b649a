//! The model is explored to its end within small bounds; each rule broken on purpose is found out.
//!
//! `DIACHRON_SLOW` set to anything explores larger bounds too: 19 million states, two minutes.

use super::rules::{Bounds, Breach, JournalModel};
use stateright::{Checker, HasDiscoveries, Model};
use std::time::Instant;

/// Terms, transactions, and answers that do not come.
const LOG: Bounds = Bounds { records: 4, transactions: 2, runs: 1, mishaps: 2, jobs: 0, power_cuts: 0 };
/// Each writer's process may end and start again.
const RESTARTS: Bounds = Bounds { records: 4, transactions: 1, runs: 2, mishaps: 1, jobs: 0, power_cuts: 0 };
/// Indexing, sealing and collecting.
const GARBAGE: Bounds = Bounds { records: 5, transactions: 1, runs: 1, mishaps: 1, jobs: 2, power_cuts: 0 };

/// Explores everything within the bounds: no rule is broken anywhere, and each sight is seen somewhere.
fn explore(name: &str, bounds: Bounds) {
    let started = Instant::now();
    let checker = JournalModel::new(bounds).checker().threads(2).spawn_dfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    eprintln!("{name}: {states} states, {steps} steps, {:.1} s", started.elapsed().as_secs_f64());
    checker.assert_properties();
}

fn slow() -> bool {
    std::env::var_os("DIACHRON_SLOW").is_some()
}

#[test]
fn two_writers_lose_nothing_whatever_answers_are_lost() {
    explore("log", LOG);
    explore("restarts", RESTARTS);
    if slow() {
        explore("log, longer", Bounds { records: 5, transactions: 3, mishaps: 3, ..LOG });
        explore("restarts, more mishaps", Bounds { mishaps: 2, ..RESTARTS });
        explore("restarts, longer", Bounds { records: 5, transactions: 2, ..RESTARTS });
    }
}

#[test]
fn sealing_and_collecting_take_nothing_that_is_named() {
    explore("garbage", Bounds { transactions: 0, ..GARBAGE });
    if slow() {
        explore("garbage, with transactions", GARBAGE);
        explore("garbage, longer", Bounds { records: 6, ..GARBAGE });
        explore("garbage, more mishaps", Bounds { mishaps: 2, ..GARBAGE });
    }
}

/// The shortest way to break a promise with this rule broken, and the promise.
fn found_out(breach: Breach, bounds: Bounds, promise: &'static str) {
    let started = Instant::now();
    let model = JournalModel::new(bounds).with(breach);
    let checker = model.checker().finish_when(HasDiscoveries::AnyOf([promise].into())).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(promise) else {
        panic!("{breach:?} does not break {promise:?} among {states} states");
    };
    eprintln!("{breach:?} breaks {promise:?}, {states} states, {:.1} s:", started.elapsed().as_secs_f64());
    for action in path.into_actions() {
        eprintln!("    {action:?}");
    }
}

const KEPT: &str = "what was acknowledged stands in its slot";
const REFUSED: &str = "what was refused is never written";
const ONCE: &str = "no transaction is written twice";
const TERMS: &str = "terms rise, each by a record of its own, and have one writer";
const SAME_BYTES: &str = "an open slot is offered the same record only";
const SEEN: &str = "what a reader saw stays";
const COVERED: &str = "sealed records are covered by a tree that is there";
const ROOTS: &str = "the newest roots are there";

#[test]
fn a_store_that_ignores_the_condition_is_found_out() {
    found_out(Breach::AppendIgnoresTheHead, LOG, KEPT);
}

#[test]
fn a_condition_on_the_slot_alone_is_found_out_once_slots_are_sealed() {
    found_out(Breach::AppendLooksAtTheSlotOnly, GARBAGE, KEPT);
}

#[test]
fn a_writer_that_trusts_its_lease_is_found_out() {
    found_out(Breach::LeaseInsteadOfCondition, LOG, KEPT);
}

#[test]
fn another_record_after_an_unknown_outcome_is_found_out() {
    found_out(Breach::RetryBuildsAnotherRecord, LOG, SAME_BYTES);
    found_out(Breach::RetryOnTheHeadFound, LOG, ONCE);
}

#[test]
fn telling_a_client_failed_after_an_unknown_outcome_is_found_out() {
    found_out(Breach::MovedMeansNotWritten, LOG, REFUSED);
}

#[test]
fn taking_any_answer_for_done_is_found_out() {
    found_out(Breach::AnswerIgnored, LOG, KEPT);
}

#[test]
fn a_writer_that_goes_on_after_it_was_fenced_is_found_out() {
    found_out(Breach::GoesOnAfterBeingFenced, LOG, TERMS);
    found_out(Breach::TakeOverKeepsTheTerm, LOG, TERMS);
}

#[test]
fn answering_before_the_disk_has_it_is_found_out() {
    let bounds = Bounds { power_cuts: 1, mishaps: 0, ..LOG };
    found_out(Breach::AnswerBeforeSync, bounds, KEPT);
    found_out(Breach::ShowBeforeSync, bounds, SEEN);
}

#[test]
fn sealing_what_no_tree_covers_is_found_out() {
    found_out(Breach::SealWithoutCoverage, GARBAGE, COVERED);
}

#[test]
fn a_collector_that_takes_too_much_is_found_out() {
    found_out(Breach::CollectorWithoutTermRule, GARBAGE, ROOTS);
    found_out(Breach::CollectorDeletesUnfinishedJobs, GARBAGE, ROOTS);
    found_out(Breach::JobFinishedBeforeItsRecord, GARBAGE, ROOTS);
}

/// Lesson 11: the writer leaves out a put because the segment is there already, while the collector is about to
/// delete it.
#[test]
fn segments_named_by_their_content_alone_are_found_out() {
    found_out(Breach::SegmentsNamedByContent, GARBAGE, ROOTS);
}
