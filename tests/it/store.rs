//! A store belongs to one transactor, and what cannot be opened says why.

use diachron_tests::{Flock, Program};

fn refused(name: &str, args: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    match Program::try_start(name, args, dir.path()) {
        Ok(_) => panic!("{name} {args:?} started"),
        Err(stderr) => stderr,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_transactor_on_the_same_directory_is_refused() {
    let mut flock = Flock::start();
    let said = refused("diachron-transactor", &["--store", &flock.store(), "--listen", "127.0.0.1:0"]);
    assert!(said.contains("in use") && said.contains(&flock.store()), "{said}");
    assert!(flock.transactor().is_running());
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    assert_eq!(client.transact("items", "[]").await.unwrap().t, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_03_a_damaged_store_is_refused_and_says_what_is_damaged() {
    let mut flock = Flock::start();
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("items").await;
    for _ in 0..20 {
        client.transact("items", "[]").await.unwrap();
    }
    flock.take_transactor().terminate();
    // Every record there is, in every place where it stands, loses a bit.
    let mut damaged = 0;
    for file in files(&flock.dir().join("store")) {
        let mut bytes = std::fs::read(&file).unwrap();
        let places: Vec<usize> =
            bytes.windows(8).enumerate().filter(|(_, w)| *w == b"DIACHRON").map(|(at, _)| at).collect();
        for at in &places {
            bytes[at + 100] ^= 1;
        }
        damaged += places.len();
        std::fs::write(&file, bytes).unwrap();
    }
    assert!(damaged >= 21, "records are found by their magic");
    let said = refused("diachron-transactor", &["--store", &flock.store(), "--listen", "127.0.0.1:0"]);
    assert!(said.contains(&flock.store()) && said.contains("is damaged"), "{said}");
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_says_why() {
    let said = refused("diachron-transactor", &["--store", "floppy:A", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("memory:") && said.contains("sled:DIR"), "{said}");
    let said = refused("diachron-transactor", &["--store", "sled:/dev/null/x", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("/dev/null/x"), "{said}");
    let said = refused("diachron-transactor", &["--store", "memory:", "--listen", "nowhere"]);
    assert!(said.contains("nowhere"), "{said}");
    let said = refused("diachron-peer", &["--transactor", "not a url", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("http://HOST:PORT"), "{said}");
    let flock = Flock::start();
    let taken = flock.transactor_url().replace("http://", "");
    let said = refused("diachron-peer", &["--transactor", &flock.transactor_url(), "--listen", &taken]);
    assert!(said.contains("--listen"), "{said}");
}
