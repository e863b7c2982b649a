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
