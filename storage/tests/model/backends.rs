//! Every backend takes the ways of the model, and answers as the model does.
//!
//! `DIACHRON_SLOW` multiplies the ways by chance, and lets every way of one step more be taken.

use super::drive::{Driver, Place};
use super::rules::{Answer, Bounds, Breach, JournalModel};
use super::walk::{Ask, Expected, Step, a_way, every_way};
use super::world::{Store as Expectation, World};
use diachron_storage::conformance::Dice;
use diachron_storage::faulty::FaultyDisk;
use diachron_storage::{Journal, MemoryStore, Options, Store, open};
use std::path::Path;
use std::sync::Arc;

/// Opens one store, again and again.
type Reopen<'a> = &'a dyn Fn() -> Store;

/// Each way is taken within one of these: with answers that do not come, with restarts, with segments.
const EVERY: [Bounds; 3] = [
    Bounds { records: 5, transactions: 2, runs: 1, mishaps: 2, jobs: 0, power_cuts: 0 },
    Bounds { records: 5, transactions: 1, runs: 2, mishaps: 0, jobs: 0, power_cuts: 0 },
    Bounds { records: 5, transactions: 0, runs: 1, mishaps: 0, jobs: 1, power_cuts: 0 },
];
const BY_CHANCE: Bounds = Bounds { records: 60, transactions: 40, runs: 40, mishaps: 80, jobs: 3, power_cuts: 0 };

fn slow() -> u64 {
    std::env::var("DIACHRON_SLOW").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// Takes every way of so many steps, each on a database of its own in one store, and finds all of it again.
fn take_every_way(reopen: Reopen, depth: usize) {
    let beginning = World::new().store;
    let store = reopen();
    let driver = Driver::new(&store);
    let mut ends: Vec<Expectation> = Vec::new();
    let mut steps_taken = 0;
    let mut visit = |steps: &[Step]| {
        let place = Place(ends.len() as u64);
        driver.begin(place, &beginning.log);
        let mut before = &beginning;
        for step in steps {
            driver.take(place, before, step);
            before = &step.after;
        }
        steps_taken += steps.len();
        ends.push(before.clone());
    };
    for bounds in EVERY {
        every_way(&JournalModel::new(bounds), depth, &mut visit);
    }
    drop(driver);
    store.close().unwrap();
    eprintln!("{} ways, {steps_taken} steps", ends.len());
    let store = reopen();
    let driver = Driver::new(&store);
    for (number, end) in (0..).zip(&ends) {
        driver.holds(Place(number), end);
    }
    drop(driver);
    store.close().unwrap();
}

/// Takes long ways by chance, and opens the store again now and then.
fn take_ways_by_chance(reopen: Reopen, ways: u64, steps_max: usize) {
    let model = JournalModel::new(BY_CHANCE);
    let beginning = World::new().store;
    let mut store = reopen();
    let mut driver = Driver::new(&store);
    for seed in 0..ways {
        eprintln!("seed {seed}");
        let mut dice = Dice::new(seed ^ 0x5eed);
        let place = Place(seed);
        driver.begin(place, &beginning.log);
        let mut before = beginning.clone();
        for step in a_way(&model, seed, steps_max) {
            driver.take(place, &before, &step);
            before = step.after;
            if dice.below(40) == 0 {
                drop(driver);
                store.close().unwrap();
                store = reopen();
                driver = Driver::new(&store);
                driver.holds(place, &before);
            }
        }
    }
    drop(driver);
    store.close().unwrap();
}

#[test]
fn memory_takes_every_way_of_the_model() {
    let memory = MemoryStore::new(Options::default());
    take_every_way(&|| memory.store(), if slow() > 1 { 5 } else { 4 });
}

#[test]
fn memory_takes_long_ways_of_the_model() {
    let memory = MemoryStore::new(Options::default());
    take_ways_by_chance(&|| memory.store(), 8 * slow(), 200);
}

#[test]
fn sled_takes_every_way_of_the_model() {
    on_sled(|reopen| take_every_way(reopen, if slow() > 1 { 4 } else { 3 }));
}

#[test]
fn sled_takes_long_ways_of_the_model() {
    on_sled(|reopen| take_ways_by_chance(reopen, 3 * slow(), 150));
}

/// A disk that pretends to sync: whether a store survives a power cut is asked elsewhere, with a disk that remembers.
fn on_sled(test: impl Fn(Reopen)) {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    test(&|| open_sled(dir.path(), &disk));
    let blobs = dir.path().join("store/sled/blobs");
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0);
}

fn open_sled(dir: &Path, disk: &FaultyDisk) -> Store {
    let options = Options {
        record_bytes_max: 20_000,
        redo_file_bytes: 4 << 20,
        frame_bytes_max: 64 * 1024,
        checkpoint_bytes: 200_000,
        pack_bytes_target: 50_000,
        sled_cache_bytes: 4 << 20,
        disk: Arc::new(disk.clone()),
        ..Options::default()
    };
    let store = open(&format!("sled:{}", dir.join("store").display()), options).unwrap();
    assert_eq!(store.notes(), [""; 0]);
    store
}

/// Every fsync of the log is held back: until it is let go nobody is answered, and nobody sees a thing.
#[test]
fn sled_shows_and_answers_nothing_of_a_way_before_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::pretending(dir.path());
    let store = open_sled(dir.path(), &disk);
    let driver = Driver::new(&store);
    let model = JournalModel::new(BY_CHANCE);
    let place = Place(1);
    let mut before = World::new().store;
    driver.begin(place, &before.log);
    for step in a_way(&model, 7, 60) {
        if writes(&step) {
            let held = disk.hold_syncs(".redo");
            std::thread::scope(|scope| {
                let taking = scope.spawn(|| driver.take(place, &before, &step));
                while disk.holding() == 0 {
                    assert!(!taking.is_finished(), "{step:?} was answered before its sync");
                    std::thread::yield_now();
                }
                driver.holds(place, &before);
                assert!(!taking.is_finished());
                drop(held);
                taking.join().unwrap();
            });
        } else {
            driver.take(place, &before, &step);
        }
        before = step.after;
    }
    assert!(driver.journal.head(place.database()).unwrap().unwrap().seq > 10, "the way is worth it");
    drop(driver);
    store.close().unwrap();
}

fn writes(step: &Step) -> bool {
    step.expected == Expected::Answer(Answer::Done) && matches!(step.ask, Ask::Offer(_))
}

/// The ways of a store that ignores the condition are not those of a store that keeps it.
#[test]
#[should_panic(expected = "Moved")]
fn a_store_that_ignores_the_condition_differs_from_one_that_does_not() {
    let memory = MemoryStore::new(Options::default());
    let store = memory.store();
    let driver = Driver::new(&store);
    let model = JournalModel::new(EVERY[0]).with(Breach::AppendIgnoresTheHead);
    let mut places = (0..).map(Place);
    every_way(&model, 3, &mut |steps| {
        let place = places.next().unwrap();
        let mut before = World::new().store;
        driver.begin(place, &before.log);
        for step in steps {
            driver.take(place, &before, step);
            before = step.after.clone();
        }
    });
}
