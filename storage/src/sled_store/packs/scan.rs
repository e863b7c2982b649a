//! Opening the packs: which frames there are, and what damage means.
//!
//! Every redo frame says up to where the packs were durable when it was written. A bad place before that is
//! damage, and noted: from then on a segment that is not found is an error, not an absence. A bad place after
//! it is a put that was never answered or that no record names; it is passed over, and the pack is not
//! continued.

use super::frame::{self, FRAME_HEADER_BYTES, FRAME_MAGIC, FileHeader, FrameHeader};
use super::{EMPTIED_FILE, NEXT_FILE, Pack, PackPlace, Packs, Tail, number_of, path_of};
use crate::disk::{Disk, DiskFile};
use crate::sled_store::health::Health;
use crate::sled_store::{FORMAT, io_error};
use crate::{Entropy, Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

const WINDOW_BYTES: usize = 1 << 20;

/// What a rescan meets, in the order in which it was written.
pub(crate) enum Met {
    Frame(PackPlace, FrameHeader),
    /// Bytes that were durable once and are no frame.
    Damage(PackPlace),
}

/// What to open, and with what.
pub(crate) struct PacksAt<'a> {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: &'a Path,
    pub(crate) store: [u8; 16],
    pub(crate) pack_bytes_target: u64,
    pub(crate) entropy: Entropy,
    pub(crate) health: Arc<Health>,
}

impl Packs {
    /// Opens all packs and tells `visit` of every frame from `from` on. `witnessed` is how far the packs were
    /// durable by the word of the redo files.
    pub(crate) fn open(
        at: PacksAt,
        from: PackPlace,
        witnessed: PackPlace,
        visit: &mut dyn FnMut(Met) -> Result<()>,
    ) -> Result<Packs> {
        let files = open_files(&at)?;
        let newest = files.keys().next_back().copied().unwrap_or(0);
        if witnessed.pack > newest {
            let missing = path_of(at.dir, newest + 1);
            let message = format!("pack file {} is missing; restore it or the store from a backup", missing.display());
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let mut end = PackPlace { pack: newest, offset: 0 };
        let mut continued = true;
        for (number, pack) in files.range(from.pack..) {
            let start = if *number == from.pack { from.offset } else { 0 }.max(frame::FILE_HEADER_BYTES);
            let durable_end = match files.get(&(number + 1)) {
                Some(next) => next.header.before_end,
                None if *number == witnessed.pack => witnessed.offset,
                None => 0,
            };
            let path = path_of(at.dir, *number);
            let is_newest = *number == newest;
            if pack.header.emptied {
                (end.offset, continued) = (frame::FILE_HEADER_BYTES, false);
                continue;
            }
            let scan = Scan { path: &path, pack, start, durable_end, is_newest };
            (end.offset, continued) = scan.run(visit)?;
        }
        if newest == 0 {
            continued = false;
        }
        let tail_pack = files.get(&newest).filter(|_| continued).cloned();
        if let Some(pack) = &tail_pack {
            let from = if witnessed.pack == newest { witnessed.offset } else { 0 };
            rewrite(&path_of(at.dir, newest), &*pack.file, from.max(frame::FILE_HEADER_BYTES), end.offset)?;
        }
        at.disk.sync_dir(at.dir).map_err(|error| io_error("fsync", at.dir, error))?;
        let tail = Tail { pack: tail_pack, number: newest, offset: end.offset, in_flight: BTreeSet::new() };
        Ok(Packs {
            disk: at.disk,
            dir: at.dir.to_owned(),
            store: at.store,
            pack_bytes_target: at.pack_bytes_target,
            entropy: at.entropy,
            health: at.health,
            tail: Mutex::new(tail),
            synced: Mutex::new(end),
            synced_known: Mutex::new(end),
            files: Mutex::new(files),
        })
    }
}

fn open_files(at: &PacksAt) -> Result<BTreeMap<u64, Pack>> {
    let corrupt = |message: String| Err(Error::new(ErrorKind::Corrupt, message));
    let names = at.disk.list(at.dir).map_err(|error| io_error("list", at.dir, error))?;
    let mut files: BTreeMap<u64, Pack> = BTreeMap::new();
    for name in names.iter().filter(|name| ![NEXT_FILE, EMPTIED_FILE].contains(&name.as_str())) {
        let number = files.len() as u64 + 1;
        let path = path_of(at.dir, number);
        match number_of(name) {
            Some(found) if found == number => {}
            Some(_) => return corrupt(format!("pack file {} is missing", path.display())),
            None => return corrupt(format!("{name:?} in {} is no pack file", at.dir.display())),
        }
        let file = at.disk.open(&path).map_err(|error| io_error("open", &path, error))?;
        let mut bytes = [0; frame::FILE_HEADER_BYTES as usize];
        let read = file.read_at(&mut bytes, 0).map_err(|error| io_error("read", &path, error))?;
        let Some(header) = FileHeader::decode(&bytes[..read]) else {
            return corrupt(format!("pack file {} has a damaged header", path.display()));
        };
        if header.format != FORMAT {
            let message =
                format!("pack file {} has format {}, this version reads {FORMAT}", path.display(), header.format);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if header.store != at.store || header.number != number {
            return corrupt(format!("pack file {} belongs to another store or is misnumbered", path.display()));
        }
        files.insert(number, Pack { header: Arc::new(header), file });
    }
    Ok(files)
}

/// Where the next whole frame of a pack begins, at `from` or after it.
pub(super) fn next_frame(path: &Path, pack: &Pack, from: u64, end: u64) -> Result<Option<u64>> {
    Scan { path, pack, start: from, durable_end: end, is_newest: false }.next_frame(from, end)
}

struct Scan<'a> {
    path: &'a Path,
    pack: &'a Pack,
    start: u64,
    /// Frames before this were durable.
    durable_end: u64,
    is_newest: bool,
}

impl Scan<'_> {
    /// Returns where the last frame ends, and whether the pack may be continued there.
    fn run(&self, visit: &mut dyn FnMut(Met) -> Result<()>) -> Result<(u64, bool)> {
        let number = self.pack.header.number;
        let file_end = self.pack.file.bytes_len().map_err(|error| io_error("measure", self.path, error))?;
        let scan_end = if self.is_newest { file_end } else { self.durable_end };
        let mut offset = self.start;
        while offset < scan_end.max(self.durable_end) {
            if let Some(header) = self.frame_at(offset, file_end)? {
                let bytes = header.bytes();
                visit(Met::Frame(PackPlace { pack: number, offset }, header))?;
                offset += bytes;
                continue;
            }
            if offset < self.durable_end {
                visit(Met::Damage(PackPlace { pack: number, offset }))?;
            }
            match self.next_frame(offset + 8, file_end)? {
                Some(next) => offset = next,
                None => return Ok((offset.max(self.durable_end), false)),
            }
        }
        Ok((offset, offset == file_end))
    }

    /// The frame at this place, if its header and its body are whole.
    fn frame_at(&self, offset: u64, file_end: u64) -> Result<Option<FrameHeader>> {
        let mut header_bytes = [0; FRAME_HEADER_BYTES];
        let read = self.read(&mut header_bytes, offset)?;
        let Some(header) = FrameHeader::decode(&header_bytes[..read], &self.pack.header) else { return Ok(None) };
        // The length is one of a whole header, and still it is compared with the file before it is believed.
        if header.offset != offset || offset + header.bytes() > file_end {
            return Ok(None);
        }
        let mut body = vec![0; header.length as usize];
        let read = self.read(&mut body, offset + FRAME_HEADER_BYTES as u64)?;
        Ok((read == body.len() && crc32c::crc32c(&body) == header.body_crc).then_some(header))
    }

    /// Where the next whole frame begins, at `from` or after it. Frames begin at multiples of 8.
    fn next_frame(&self, from: u64, file_end: u64) -> Result<Option<u64>> {
        let mut window = vec![0; WINDOW_BYTES];
        let mut offset = from.next_multiple_of(8);
        while offset < file_end {
            let read = self.read(&mut window, offset)?;
            for (at, eight) in window[..read].chunks_exact(8).enumerate() {
                let place = offset + 8 * at as u64;
                if eight == FRAME_MAGIC && self.frame_at(place, file_end)?.is_some() {
                    return Ok(Some(place));
                }
            }
            offset += WINDOW_BYTES as u64;
        }
        Ok(None)
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.pack.file.read_at(buffer, offset).map_err(|error| io_error("read", self.path, error))
    }
}

/// Writes bytes over themselves and syncs them. If the process before this one ended by a failed fdatasync,
/// the system may hold pages that it takes for clean and that are not on the disk.
fn rewrite(path: &Path, file: &dyn DiskFile, from: u64, to: u64) -> Result<()> {
    let mut window = vec![0; WINDOW_BYTES];
    let mut offset = from;
    while offset < to {
        let count = (to - offset).min(WINDOW_BYTES as u64) as usize;
        let read = file.read_at(&mut window[..count], offset).map_err(|error| io_error("read", path, error))?;
        file.write_all_at(&window[..read], offset).map_err(|error| io_error("write", path, error))?;
        offset += count as u64;
    }
    file.sync_data().map_err(|error| io_error("fdatasync", path, error))
}
