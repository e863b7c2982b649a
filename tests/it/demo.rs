//! The demo is what a newcomer runs first: it must work, every answer right.

use diachron_tests::binary;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_demo_loads_the_world_asks_both_peers_and_gets_every_answer_right() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("data/world");
    let run = Command::new(binary("diachron-demo")).arg("--data").arg(data).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("10 transactions, 9905 datoms, t 1 to 10"), "{said}");
    assert_eq!(said.matches("✓ right").count(), 26, "{said}");
    assert!(said.contains("26 of 26 answers right"), "{said}");
    assert!(said.contains("stopped cleanly"), "{said}");
}
