//! What the disk does by itself.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// 200 bytes into a preallocated file, then fdatasync, one after the other: how many a second.
pub fn syncs_per_second(dir: &Path, during: Duration) -> std::io::Result<f64> {
    const FILE_BYTES: usize = 8 << 20;
    let path = dir.join("disk");
    let file: File = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let begun = Instant::now();
    let mut writes = 0u64;
    while begun.elapsed() < during {
        file.write_all_at(&[7; 200], writes * 200 % (FILE_BYTES as u64 - 200))?;
        file.sync_data()?;
        writes += 1;
    }
    let rate = writes as f64 / begun.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}
