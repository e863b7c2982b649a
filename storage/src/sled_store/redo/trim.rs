//! Which redo files are not needed any more, and their removal.
//!
//! A file may go when every record in it was sealed or belongs to a database that was dropped, and when sled is
//! durable with all of it, so that no start replays it. All else that it says stands in the beginning of the file
//! after it. The word that files may be gone is in a checkpoint and in the beginning of each later file, durable
//! before the first of them is removed.

use super::frame::{self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, Frame, FrameKind};
use super::path_of;
use crate::DatabaseId;
use crate::disk::{Disk, DiskFile};
use crate::state::State;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Of each database: the newest record's seq, and the one before which all are sealed.
pub(crate) struct Marks(BTreeMap<DatabaseId, (u64, u64)>);

impl Marks {
    pub(crate) fn of(state: &State) -> Marks {
        Marks(state.heads().iter().map(|(db, head)| (*db, (head.seq, state.sealed_before(*db)))).collect())
    }

    /// Whether no record up to those heads is needed any more.
    fn cover(&self, beginning: &State) -> bool {
        beginning.heads().iter().all(|(db, head)| match self.0.get(db) {
            // Dropped; with a head that lies behind it was dropped, too, and made again.
            None => true,
            Some((seq, sealed_before)) => *sealed_before > head.seq || *seq < head.seq,
        })
    }
}

/// The first file that is needed still, from `first` on, of which nothing is known but that it is there. Sled is
/// durable up to `commit`.
pub(crate) fn first_needed(
    disk: &dyn Disk,
    dir: &Path,
    files: std::ops::Range<u64>,
    commit: u64,
    marks: &Marks,
) -> io::Result<u64> {
    for number in files.clone() {
        // What is in a file is what the next one begins with.
        let (header, beginning) = read_beginning(disk, dir, number + 1)?;
        if header.first_commit > commit + 1 || !marks.cover(&beginning) {
            return Ok(number);
        }
    }
    Ok(files.end)
}

/// Removes files, the oldest first.
pub(crate) fn remove(disk: &dyn Disk, dir: &Path, files: impl Iterator<Item = u64>) -> io::Result<()> {
    for number in files {
        match disk.remove_file(&path_of(dir, number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    disk.sync_dir(dir)
}

/// A file's header and what it begins with, without the rest of it.
fn read_beginning(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<(FileHeader, State)> {
    let damaged = || io::Error::other(format!("{} does not begin as a redo file", path_of(dir, number).display()));
    let file = disk.open(&path_of(dir, number))?;
    let header = FileHeader::decode(&read(&*file, 0, FILE_HEADER_BYTES as usize)?).ok_or_else(damaged)?;
    let mut state = State::default();
    let mut offset = header.frames_offset();
    loop {
        let length = frame::payload_bytes(&read(&*file, offset, FRAME_HEADER_BYTES)?, &header).ok_or_else(damaged)?;
        let bytes = read(&*file, offset, FRAME_HEADER_BYTES + length)?;
        let frame = Frame::decode(&bytes, &header).filter(|frame| frame.kind == FrameKind::Begin);
        let frame = frame.ok_or_else(damaged)?;
        let begin = frame::decode_begin(&frame, &mut state).ok_or_else(damaged)?;
        if begin.part + 1 == begin.parts {
            return Ok((header, state));
        }
        offset += frame.bytes();
    }
}

fn read(file: &dyn DiskFile, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}
