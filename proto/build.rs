//! Compiles the .proto files without protoc, and keeps their descriptors for reflection.

use prost::Message;
use std::path::PathBuf;

const FILES: [&str; 7] = ["value", "error", "transaction", "transactor", "storage", "peer", "admin"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files: Vec<String> = FILES.iter().map(|name| format!("proto/diachron/v1/{name}.proto")).collect();
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
