//! Real data through real processes: imported by the command, asked of a peer, every answer compared with another
//! engine's.

use diachron_tests::questions::{ask_all, data_set};
use diachron_tests::{Flock, binary};
use std::path::Path;
use std::process::Command;

/// 2.7 million datoms: the slow suite's.
#[tokio::test(flavor = "multi_thread")]
async fn the_questions_about_un_votes_are_answered_right() {
    if std::env::var_os("DIACHRON_SLOW").is_none() {
        println!("skipped: 2.7 million datoms are for ./test-slow, which sets DIACHRON_SLOW");
        return;
    }
    let Some(set) = data_set("un-votes") else { return };
    let flock = Flock::start();
    let peer = flock.start_peer();
    let edn = flock.dir().join("edn");
    std::fs::create_dir(&edn).unwrap();
    let made = Command::new("python3").arg(set.join("make.py")).arg("edn").arg(&edn).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    import(peer.url(), "un", &[&edn.join("schema.edn"), &edn.join("tx.edn")]);

    let mut client = flock.client(&peer).await;
    assert_eq!(client.sync("un", None).await.unwrap(), 6204);
    let (asked, wrong) = ask_all(&mut client, "un", &set).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(asked, 12);
}

fn import(peer: &str, database: &str, files: &[&Path]) {
    let started = std::time::Instant::now();
    let mut command = Command::new(binary("diachron"));
    command.args(["--peer", peer, "import", "--create", database]).args(files);
    let run = command.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    println!("imported in {:?}: {}", started.elapsed(), String::from_utf8_lossy(&run.stdout).trim());
}
