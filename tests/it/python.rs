//! A client in another language, made from the .proto files alone.
//!
//! Needs Python with `venv`, and pip's index to install grpcio-tools from the first time; where they are not to be
//! had, the test says so and passes, since nothing of ours is at fault.

use diachron_tests::{Flock, binary};
use std::path::{Path, PathBuf};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_transacts_asks_as_of_and_reads_a_typed_error() {
    let Some(python) = python_with_grpc() else { return };
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let flock = Flock::start();
    let peer = flock.start_peer();
    let generated = flock.dir().join("generated");
    std::fs::create_dir(&generated).unwrap();
    let protos = repository.join("proto/proto");
    let files = ["value", "error", "transaction", "transactor", "storage", "peer"];
    run(Command::new(&python)
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(&protos)
        .arg(format!("--python_out={}", generated.display()))
        .arg(format!("--grpc_python_out={}", generated.display()))
        .args(files.map(|name| protos.join(format!("diachron/v1/{name}.proto")))));
    let said = run(Command::new(&python)
        .arg(repository.join("tests/python/client.py"))
        .arg(peer.address())
        .env("PYTHONPATH", &generated));
    assert!(said.contains("wrong-type-for-attribute"), "{said}");
}

/// A Python that has grpcio-tools, in an environment of its own beside the build.
fn python_with_grpc() -> Option<PathBuf> {
    let place = binary("diachron-peer").parent()?.join("python");
    let python = place.join("bin/python");
    let has_grpc = |python: &Path| {
        Command::new(python)
            .args(["-c", "import grpc_tools.protoc"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if has_grpc(&python) {
        return Some(python);
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&place).output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: python3 with the venv module is not here (Debian: apt install python3-venv)");
        return None;
    }
    let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet", "grpcio-tools"]).output();
    if !has_grpc(&python) {
        let said = installed.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
        println!("SKIPPED: pip cannot install grpcio-tools: {said:?}");
        return None;
    }
    Some(python)
}

/// Its stdout; a failure shows all it said.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}\n{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    stdout
}
