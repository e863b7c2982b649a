//! Pack files: the home of segment bytes.
//!
//! `packs/0000000001.pack` and so on, append-only. Every frame names its segment, so that the directory (which
//! lives in sled) can be made again from the packs alone. A put returns after the fdatasync that covers its
//! frame; one fdatasync serves all puts that wait.
//!
//! A pack of which nothing is needed any more is replaced by its header alone, which says so (see [`compact`]), so that
//! a pack that is missing is always damage.

pub(crate) mod compact;
pub(crate) mod frame;
pub(crate) mod scan;

use crate::disk::{Disk, DiskFile};
use crate::sled_store::health::Health;
use crate::sled_store::{FORMAT, io_error};
use crate::{Error, ErrorKind, Result, SegmentKey, sha256};
use frame::{FileHeader, FrameHeader};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a new pack, or an emptied one, is prepared before it gets its number.
const NEXT_FILE: &str = "next";
const EMPTIED_FILE: &str = "emptied";

/// A place in the packs. Places are ordered as the packs were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PackPlace {
    pub(crate) pack: u64,
    pub(crate) offset: u64,
}

impl PackPlace {
    /// Before the first pack.
    pub(crate) const START: PackPlace = PackPlace { pack: 0, offset: 0 };
}

/// The packs of a store: appended to by anybody, read at places that the directory knows.
pub(crate) struct Packs {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store: [u8; 16],
    pack_bytes_target: u64,
    entropy: crate::Entropy,
    health: Arc<Health>,
    /// Held while a frame is written, so that frames do not meet.
    tail: Mutex<Tail>,
    /// Held during an fdatasync; says up to where the packs are durable.
    synced: Mutex<PackPlace>,
    /// A copy of `synced` that can be read while an fdatasync runs.
    synced_known: Mutex<PackPlace>,
    /// Every pack there is, the one that is written included. Held for a lookup.
    files: Mutex<BTreeMap<u64, Pack>>,
}

#[derive(Clone)]
struct Pack {
    header: Arc<FileHeader>,
    file: Arc<dyn DiskFile>,
}

struct Tail {
    /// None until the first segment of a store, and when the newest pack must not be continued.
    pack: Option<Pack>,
    number: u64,
    offset: u64,
    /// Where frames begin that are durable or not, but are not in the directory yet.
    in_flight: BTreeSet<PackPlace>,
}

/// A frame that is durable; it counts as missing from the directory until this is dropped.
pub(crate) struct Placed<'a> {
    packs: &'a Packs,
    pub(crate) place: PackPlace,
}

impl Drop for Placed<'_> {
    fn drop(&mut self) {
        locked(&self.packs.tail).in_flight.remove(&self.place);
    }
}

/// The path of a pack file.
pub(crate) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.pack"))
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".pack")?;
    let number = digits.parse().ok()?;
    (format!("{number:010}") == digits).then_some(number)
}

impl Packs {
    /// Appends a segment. Durable when it returns.
    pub(crate) fn append(&self, key: &SegmentKey, body: &[u8]) -> Result<Placed<'_>> {
        let (placed, end) = self.write(key, body)?;
        self.sync_up_to(end)?;
        Ok(placed)
    }

    /// Appends segments, and syncs once. Durable when it returns.
    pub(crate) fn append_all(&self, segments: &[(&SegmentKey, &[u8])]) -> Result<Vec<Placed<'_>>> {
        let mut placed = Vec::with_capacity(segments.len());
        let mut end = None;
        for (key, body) in segments {
            let (one, after) = self.write(key, body)?;
            placed.push(one);
            end = Some(after);
        }
        end.map_or(Ok(()), |end| self.sync_up_to(end))?;
        Ok(placed)
    }

    /// Appends a segment, which is durable when everything up to the place that comes with it is.
    fn write(&self, key: &SegmentKey, body: &[u8]) -> Result<(Placed<'_>, PackPlace)> {
        self.health.check()?;
        let mut tail = locked(&self.tail);
        if tail.pack.is_none() || tail.offset >= self.pack_bytes_target {
            self.rotate(&mut tail)?;
        }
        let pack = tail.pack.clone().unwrap_or_else(|| unreachable!("a rotation makes a pack"));
        let place = PackPlace { pack: tail.number, offset: tail.offset };
        let header = FrameHeader {
            offset: tail.offset,
            // The length was checked against `segment_bytes_max`, which fits into 32 bits.
            length: body.len() as u32,
            key: key.clone(),
            body_crc: crc32c::crc32c(body),
        };
        let mut bytes = header.encode(&pack.header);
        bytes.extend_from_slice(body);
        bytes.resize(header.bytes() as usize, 0);
        tail.in_flight.insert(place);
        let written = pack.file.write_all_at(&bytes, tail.offset);
        written.map_err(|error| self.poison("write", tail.number, error))?;
        tail.offset += bytes.len() as u64;
        Ok((Placed { packs: self, place }, PackPlace { pack: tail.number, offset: tail.offset }))
    }

    /// The bytes of the segment at this place, verified.
    pub(crate) fn read(&self, place: PackPlace, length: u32, key: &SegmentKey) -> Result<Vec<u8>> {
        let path = path_of(&self.dir, place.pack);
        let damaged = |what: &str| {
            let path = path.display();
            Error::new(ErrorKind::Corrupt, format!("segment {key:?} in {path} at byte {}: {what}", place.offset))
        };
        let pack = locked(&self.files).get(&place.pack).cloned();
        let pack = pack.ok_or_else(|| damaged("the pack is missing"))?;
        let file_end = pack.file.bytes_len().map_err(|error| io_error("measure", &path, error))?;
        if place.offset.saturating_add(u64::from(length)) > file_end {
            return Err(damaged("the pack ends before the segment does"));
        }
        let mut bytes = vec![0; frame::FRAME_HEADER_BYTES + length as usize];
        let read = pack.file.read_at(&mut bytes, place.offset).map_err(|error| io_error("read", &path, error))?;
        if read < bytes.len() {
            return Err(damaged("the pack ends before the segment does"));
        }
        let header = FrameHeader::decode(&bytes, &pack.header).ok_or_else(|| damaged("its frame is damaged"))?;
        if header.key != *key || header.length != length {
            return Err(damaged("another frame stands in its place"));
        }
        let body = bytes.split_off(frame::FRAME_HEADER_BYTES);
        match sha256(&body) == key.hash {
            true => Ok(body),
            false => Err(damaged("its bytes have another hash than its name")),
        }
    }

    /// Up to where the packs are durable.
    pub(crate) fn durable_up_to(&self) -> PackPlace {
        *locked(&self.synced_known)
    }

    /// Up to where every frame is in the directory.
    pub(crate) fn listed_up_to(&self) -> PackPlace {
        let tail = locked(&self.tail);
        let end = PackPlace { pack: tail.number, offset: tail.offset };
        tail.in_flight.first().copied().unwrap_or(end)
    }

    fn sync_up_to(&self, end: PackPlace) -> Result<()> {
        let mut synced = locked(&self.synced);
        self.health.check()?;
        if *synced >= end {
            return Ok(());
        }
        // Everything written by now is covered by the fdatasync that follows. A rotation syncs the old pack.
        let (pack, now) = {
            let tail = locked(&self.tail);
            (tail.pack.clone(), PackPlace { pack: tail.number, offset: tail.offset })
        };
        if let Some(pack) = pack {
            pack.file.sync_data().map_err(|error| self.poison("fdatasync", now.pack, error))?;
        }
        *synced = now;
        *locked(&self.synced_known) = now;
        Ok(())
    }

    /// Ends the pack that is written and begins the next.
    fn rotate(&self, tail: &mut Tail) -> Result<()> {
        if let Some(pack) = &tail.pack {
            pack.file.sync_data().map_err(|error| self.poison("fdatasync", tail.number, error))?;
        }
        let mut salt = [0; 16];
        (self.entropy)(&mut salt).map_err(|error| self.poison("find a salt for", tail.number + 1, error))?;
        let number = tail.number + 1;
        let (store, before_end) = (self.store, tail.offset);
        let header = FileHeader { format: FORMAT, store, number, emptied: false, before_end, salt };
        let file = match self.create(NEXT_FILE, &header) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let message = format!("no space for the next pack file in {}", self.dir.display());
                return Err(Error::new(ErrorKind::Busy, message).with_source(error));
            }
            Err(error) => return Err(self.poison("create", number, error)),
        };
        let pack = Pack { header: Arc::new(header), file };
        locked(&self.files).insert(number, pack.clone());
        (tail.pack, tail.number, tail.offset) = (Some(pack), number, frame::FILE_HEADER_BYTES);
        Ok(())
    }

    /// Makes a file of this header, under the pack's name when it is durable.
    fn create(&self, prepared_as: &str, header: &FileHeader) -> io::Result<Arc<dyn DiskFile>> {
        let next = self.dir.join(prepared_as);
        match self.disk.remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.create_new(&next)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        self.disk.rename(&next, &path_of(&self.dir, header.number))?;
        self.disk.sync_dir(&self.dir)?;
        Ok(file)
    }

    fn poison(&self, what: &str, number: u64, error: io::Error) -> Error {
        self.health.poison(&format!("could not {what} {}", path_of(&self.dir, number).display()), error)
    }
}

/// Nothing is left half changed under these locks where a panic could pass.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
