//! Writing redo files: one frame at a time, each durable before the next.

use super::frame::{self, FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, Frame, FrameKind};
use super::{NEXT_FILE, path_of};
use crate::disk::{Disk, DiskFile};
use crate::sled_store::packs::PackPlace;
use crate::state::State;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What an end frame takes.
const END_FRAME_BYTES: u64 = FRAME_HEADER_BYTES as u64 + 8;

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// The file that is written, and the place in it.
pub(crate) struct RedoWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    header: FileHeader,
    file: Arc<dyn DiskFile>,
    offset: u64,
    commit_next: u64,
}

/// Makes the file that will be the next one: full of zeros and durable, so that a frame written into it
/// changes no metadata.
pub(crate) fn prepare_next(disk: &dyn Disk, dir: &Path, file_bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
    let path = dir.join(NEXT_FILE);
    match disk.remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create_new(&path)?;
    let filled = fill_with_zeros(&*file, file_bytes);
    if filled.is_err() {
        // What was written may be what fills the disk. Whether it goes or not, the error is the first one.
        let _ = disk.remove_file(&path);
    }
    filled.map(|()| file)
}

fn fill_with_zeros(file: &dyn DiskFile, file_bytes: u64) -> io::Result<()> {
    let mut offset = 0;
    while offset < file_bytes {
        let count = (file_bytes - offset).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..count as usize], offset)?;
        offset += count;
    }
    file.sync_all()
}

/// What a file begins with.
#[derive(Clone, Copy)]
pub(crate) struct Beginning<'a> {
    pub(crate) state: &'a State,
    /// Redo files before this one are not needed any more.
    pub(crate) redo_first: u64,
}

/// Writes header and beginning into a prepared file and gives it its number. When this returns, the file is
/// durable under its name, or it is still nothing.
fn begin(
    disk: &dyn Disk,
    dir: &Path,
    file: &dyn DiskFile,
    header: &FileHeader,
    beginning: Beginning,
    packs: PackPlace,
) -> io::Result<(u64, u64)> {
    let (mut offset, mut commit) = (header.frames_offset(), header.first_commit);
    file.write_all_at(&header.encode(), 0)?;
    let payload_bytes_max = header.frame_bytes_max as usize - FRAME_HEADER_BYTES;
    for (count, payload) in frame::encode_begin(beginning.state, beginning.redo_first, payload_bytes_max) {
        let frame = Frame { commit, offset, kind: FrameKind::Begin, count, packs, payload: &payload };
        file.write_all_at(&frame.encode(header), offset)?;
        offset += frame.bytes();
        commit += 1;
    }
    file.sync_all()?;
    disk.rename(&dir.join(NEXT_FILE), &path_of(dir, header.number))?;
    disk.sync_dir(dir)?;
    Ok((offset, commit))
}

impl RedoWriter {
    /// Makes the first file of a new store.
    pub(crate) fn create_first(disk: &dyn Disk, dir: &Path, header: &FileHeader) -> io::Result<()> {
        let file = prepare_next(disk, dir, header.file_bytes)?;
        let beginning = Beginning { state: &State::default(), redo_first: 1 };
        begin(disk, dir, &*file, header, beginning, PackPlace::START).map(drop)
    }

    /// Goes on in an existing file, where a scan ended.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        header: FileHeader,
        file: Arc<dyn DiskFile>,
        offset: u64,
        commit_next: u64,
    ) -> Self {
        RedoWriter { disk, dir: dir.to_owned(), header, file, offset, commit_next }
    }

    /// The number of the file that is written.
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// The format of the file that is written.
    pub(crate) fn format(&self) -> u32 {
        self.header.format
    }

    /// How many bytes of payload fit into a frame.
    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.header.frame_bytes_max as usize - FRAME_HEADER_BYTES
    }

    /// Bytes left in this file.
    pub(crate) fn bytes_left(&self) -> u64 {
        self.header.file_bytes - self.offset
    }

    /// Whether the largest frame, and the end frame after it, fit into this file.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes_left() >= u64::from(self.header.frame_bytes_max) + 8 + END_FRAME_BYTES
    }

    /// Writes a frame at the tail and into its mirror slot, and makes both durable by one fdatasync. After an
    /// error the store must not be written any more.
    pub(crate) fn append(&mut self, kind: FrameKind, count: u32, packs: PackPlace, payload: &[u8]) -> io::Result<u64> {
        let commit = self.commit_next;
        let frame = Frame { commit, offset: self.offset, kind, count, packs, payload };
        let bytes = frame.encode(&self.header);
        self.file.write_all_at(&bytes, self.offset)?;
        self.file.write_all_at(&bytes, self.header.mirror_offset(commit))?;
        self.file.sync_data()?;
        self.offset += bytes.len() as u64;
        self.commit_next += 1;
        Ok(commit)
    }

    /// Goes on in the next file: first that file with its beginning, then the end frame of this one. A cut
    /// between the two leaves a next file with nothing but its beginning, which a scan understands.
    pub(crate) fn rotate(
        &mut self,
        next: Arc<dyn DiskFile>,
        format: u32,
        salt: [u8; 16],
        beginning: Beginning,
        packs: PackPlace,
    ) -> io::Result<()> {
        let first_commit = self.commit_next + 1;
        let header = FileHeader { format, number: self.header.number + 1, first_commit, salt, ..self.header.clone() };
        let (offset, commit_next) = begin(&*self.disk, &self.dir, &*next, &header, beginning, packs)?;
        self.append(FrameKind::End, 1, packs, &header.number.to_le_bytes())?;
        (self.header, self.file, self.offset, self.commit_next) = (header, next, offset, commit_next);
        Ok(())
    }

    /// Writes the end frame that a cut kept out of the file before this one.
    pub(crate) fn write_missing_end(mut self, packs: PackPlace) -> io::Result<()> {
        let next = self.header.number + 1;
        self.append(FrameKind::End, 1, packs, &next.to_le_bytes()).map(drop)
    }
}

/// The smallest file that holds header, mirrors, a beginning and a few frames.
pub(crate) fn file_bytes_min(frame_bytes_max: u32) -> u64 {
    FILE_HEADER_BYTES + 8 * (u64::from(frame_bytes_max) + 4096)
}
