//! Which redo files are not needed any more, and their removal.
//!
//! A file may go when every record in it was sealed, was said again in a later file, or belongs to a database that was
//! dropped, and when sled is durable with all of it, so that no start replays it. All else that it says stands in the beginning of the file
//! after it. The word that files may be gone is in a checkpoint and in the beginning of each later file, durable
//! before the first of them is removed.

use super::frame::{self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, Frame, FrameKind};
use super::path_of;
use crate::DatabaseId;
use crate::disk::{Disk, DiskFile};
use crate::state::State;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of each database: what makes a file needless.
pub(crate) struct Marks(BTreeMap<DatabaseId, Mark>);

struct Mark {
    /// The newest record's.
    seq: u64,
    /// All records before it are sealed.
    sealed_before: u64,
    /// All records up to one that are not sealed were said again, in this file or later ones.
    kept: Option<Kept>,
}

/// Records of a database were said again.
#[derive(Clone, Copy)]
struct Kept {
    through_seq: u64,
    since_file: u64,
}

/// Which redo files there are and are needed, as it changes; shared by the commit thread and whoever makes them needless.
pub(crate) struct RedoKnown(Mutex<Known>);

struct Known {
    /// The first that is needed, and the one that is written.
    files: Range<u64>,
    kept: BTreeMap<DatabaseId, Kept>,
    /// All files before this one shall become needless.
    target: Option<u64>,
}

impl RedoKnown {
    pub(crate) fn new(files: Range<u64>) -> Self {
        RedoKnown(Mutex::new(Known { files, kept: BTreeMap::new(), target: None }))
    }

    /// The files that are needed, as far as is known, without the one that is written, which is the end.
    pub(crate) fn files(&self) -> Range<u64> {
        self.known().files.clone()
    }

    pub(crate) fn rotated(&self, number: u64) {
        self.known().files.end = number;
    }

    pub(crate) fn trimmed(&self, first: u64) {
        let mut known = self.known();
        known.files.start = first;
        known.kept.retain(|_, kept| kept.since_file >= first);
    }

    /// The file before which all others shall become needless by what is said again: the same until it is reached. None
    /// while there are few.
    pub(crate) fn target(&self, files_left: u64) -> Option<u64> {
        let mut known = self.known();
        let Range { start, end } = known.files;
        if known.target.is_none() && end - start >= files_left {
            known.target = Some(end);
        }
        known.target
    }

    /// From now on all files before this one shall become needless, and what was said again before counts no more.
    pub(crate) fn set_target(&self, first: u64) {
        self.known().target = Some(first);
    }

    pub(crate) fn target_reached(&self) {
        self.known().target = None;
    }

    /// Up to which record all of a database's were said again in this file or later ones; 0 when none were.
    pub(crate) fn kept_through(&self, db: DatabaseId, since_file: u64) -> u64 {
        let known = self.known();
        known.kept.get(&db).filter(|kept| kept.since_file >= since_file).map_or(0, |kept| kept.through_seq)
    }

    /// All records of a database up to one, sealed ones left out, were said again in this file or later ones.
    pub(crate) fn kept(&self, db: DatabaseId, through_seq: u64, since_file: u64) {
        self.known().kept.insert(db, Kept { through_seq, since_file });
    }

    /// It is changed in one line at a time.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    pub(crate) fn of(state: &State, redo: &RedoKnown) -> Marks {
        let known = redo.known();
        let mark = |db: &DatabaseId, seq| {
            let (sealed_before, kept) = (state.sealed_before(*db), known.kept.get(db).copied());
            Mark { seq, sealed_before, kept }
        };
        Marks(state.heads().iter().map(|(db, head)| (*db, mark(db, head.seq))).collect())
    }

    /// Whether no record of file `number` or before is needed there, when those after it begin so.
    fn cover(&self, number: u64, beginning: &State) -> bool {
        beginning.heads().iter().all(|(db, head)| match self.0.get(db) {
            // Dropped; with a head that lies behind it was dropped, too, and made again.
            None => true,
            Some(mark) => {
                let kept = mark.kept.is_some_and(|kept| kept.through_seq >= head.seq && kept.since_file > number);
                mark.sealed_before > head.seq || mark.seq < head.seq || kept
            }
        })
    }
}

/// The first file that is needed still, from `first` on, of which nothing is known but that it is there. Sled is
/// durable up to `commit`.
pub(crate) fn first_needed(
    disk: &dyn Disk,
    dir: &Path,
    files: Range<u64>,
    commit: u64,
    marks: &Marks,
) -> io::Result<u64> {
    for number in files.clone() {
        // What is in a file is what the next one begins with.
        let (header, beginning) = read_beginning(disk, dir, number + 1)?;
        if header.first_commit > commit + 1 || !marks.cover(number, &beginning) {
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
pub(crate) fn read_beginning(disk: &dyn Disk, dir: &Path, number: u64) -> io::Result<(FileHeader, State)> {
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
