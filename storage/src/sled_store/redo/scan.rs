//! Reading redo files back, and what damage means.
//!
//! - A file that is missing, short, misnumbered, of another store, or whose header or beginning is bad: refuse.
//! - A bad place with a good frame of a higher number after it, in this file or in a mirror slot: refuse, since
//!   frames are written one at a time and each only after the one before it was durable.
//! - A bad place whose frame is whole in its mirror, with nothing newer anywhere: that frame, written back.
//! - A bad place and no such mirror: the frame was never acknowledged; the log ends before it.

use super::frame::{self, Checkpoint, FILE_HEADER_BYTES, FRAME_MAGIC, FileHeader, Frame, FrameKind};
use super::{FORMATS, NEXT_FILE, number_of, path_of};
use crate::disk::{Disk, DiskFile};
use crate::sled_store::io_error;
use crate::state::{Change, State};
use crate::{DatabaseId, Error, ErrorKind, Head, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest redo file that is read; a length above it comes from damage.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// The redo files of a store, whose headers agree with each other.
pub(crate) struct RedoFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The files that follow one another without a gap up to the newest.
    headers: BTreeMap<u64, FileHeader>,
    /// Numbers of files before a gap: a removal was cut off, or files are missing.
    strays: Vec<u64>,
}

/// What a scan meets, in order.
pub(crate) enum Met<'a> {
    /// All heads and pods as the file begins.
    Begin(State),
    /// Steps, a checkpoint or the end.
    Frame(Frame<'a>),
}

/// Where a scan ended.
pub(crate) struct ScanEnd {
    /// Where the next frame goes, and its number.
    pub(crate) offset: u64,
    pub(crate) commit_next: u64,
    /// Whether the file was closed by an end frame.
    pub(crate) ended: bool,
    /// Whether there is anything but the beginning.
    pub(crate) has_steps: bool,
    /// The newest frame's place and bytes, unless it belongs to the beginning.
    pub(crate) newest: Option<(u64, Vec<u8>)>,
    /// Whether the newest frame was bad in its place and taken from its mirror.
    pub(crate) restored: bool,
    /// Up to where the packs were durable when the newest frame was written.
    pub(crate) packs: crate::sled_store::packs::PackPlace,
    /// Redo files before this one may be gone, by the newest word in this file.
    pub(crate) redo_first: u64,
}

impl RedoFiles {
    /// Lists the files and checks names, lengths and headers.
    pub(crate) fn list(disk: Arc<dyn Disk>, dir: &Path, store: [u8; 16]) -> Result<RedoFiles> {
        let mut files = RedoFiles { disk, dir: dir.to_owned(), headers: BTreeMap::new(), strays: Vec::new() };
        let names = files.disk.list(dir).map_err(|error| io_error("list", dir, error))?;
        let mut numbers = Vec::new();
        for name in names.iter().filter(|name| *name != NEXT_FILE) {
            match number_of(name) {
                None => return Err(files.damaged(format!("{name:?} in {} is no redo file", dir.display()))),
                Some(number) => numbers.push(number),
            }
        }
        let Some(newest) = numbers.last().copied() else { return Err(files.missing(1)) };
        // Names are in order, and so are their numbers.
        for (number, expected) in numbers.into_iter().rev().zip((0..=newest).rev()) {
            match number == expected {
                true => drop(files.headers.insert(number, files.check_header(number, store)?)),
                false => files.strays.push(number),
            }
        }
        Ok(files)
    }

    /// Refuses files that lack one which is needed, by the word of the newest file.
    pub(crate) fn check_none_is_missing(&self, redo_first: u64) -> Result<()> {
        match self.first() <= redo_first {
            true => Ok(()),
            false => Err(self.missing(self.first() - 1)),
        }
    }

    /// Files that were not needed any more, and that a process before this one did not come to remove.
    pub(crate) fn leftovers(&self, redo_first: u64) -> impl Iterator<Item = u64> {
        self.strays.iter().copied().chain(self.headers.range(..redo_first).map(|(number, _)| *number))
    }

    fn missing(&self, number: u64) -> Error {
        self.damaged(format!("redo file {} is missing", path_of(&self.dir, number).display()))
    }

    /// The oldest file that the newest can be reached from.
    pub(crate) fn first(&self) -> u64 {
        self.headers.keys().next().copied().unwrap_or_else(|| unreachable!("a list without files is refused"))
    }

    pub(crate) fn newest(&self) -> u64 {
        self.headers.keys().next_back().copied().unwrap_or_else(|| unreachable!("a list without files is refused"))
    }

    pub(crate) fn header(&self, number: u64) -> &FileHeader {
        &self.headers[&number]
    }

    pub(crate) fn open(&self, number: u64) -> Result<Arc<dyn DiskFile>> {
        let path = path_of(&self.dir, number);
        self.disk.open(&path).map_err(|error| io_error("open", &path, error))
    }

    /// Reads one file from its beginning to its last good frame, telling `visit` what it meets, and judges
    /// what comes after.
    pub(crate) fn scan(&self, number: u64, visit: &mut dyn FnMut(Met) -> Result<()>) -> Result<ScanEnd> {
        let header = self.header(number).clone();
        let bytes = self.load(number, &header)?;
        let Began { state: begin, redo_first, mut offset, mut commit_next, packs } =
            self.read_begin(&bytes, &header)?;
        visit(Met::Begin(begin))?;
        let mut end = ScanEnd {
            offset,
            commit_next,
            ended: false,
            has_steps: false,
            newest: None,
            restored: false,
            packs,
            redo_first,
        };
        while !end.ended {
            let in_place = frame_at(&bytes, offset, &header).filter(|frame| frame.commit == commit_next);
            let frame = match in_place {
                Some(frame) => frame,
                None => match self.judge_bad_place(&bytes, &header, offset, commit_next)? {
                    Some(mirrored) => {
                        end.restored = true;
                        mirrored
                    }
                    None => break,
                },
            };
            if frame.kind == FrameKind::Begin {
                return Err(self.damaged(format!("{} begins twice", self.place(&header, offset))));
            }
            end.ended = frame.kind == FrameKind::End;
            end.has_steps = true;
            end.newest = Some((offset, frame.encode(&header)));
            end.packs = frame.packs;
            if let Some(checkpoint) = checkpoint_in(&frame) {
                end.redo_first = checkpoint.redo_first;
            }
            offset += frame.bytes();
            commit_next += 1;
            visit(Met::Frame(frame))?;
        }
        (end.offset, end.commit_next) = (offset, commit_next);
        self.check_against_next(&end, &header)?;
        Ok(end)
    }

    /// An error of damage: what was found, and what the log is known to hold of which database.
    pub(crate) fn damaged(&self, found: String) -> Error {
        let known = self.known_heads();
        let databases =
            known.iter().take(4).map(|(db, head)| format!("database {db} to t {} (seq {})", head.t, head.seq));
        let databases = databases.collect::<Vec<_>>().join(", ");
        let holds = match known.len() {
            0 => "no database can be read from what is left".to_owned(),
            1..=4 => format!("what is left names {databases}"),
            more => format!("what is left names {databases} and {} more", more - 4),
        };
        let remedy = "nothing was changed; restore the file or the store from a backup";
        Error::new(ErrorKind::Corrupt, format!("{found}; {holds}; {remedy}"))
    }

    fn check_header(&self, number: u64, store: [u8; 16]) -> Result<FileHeader> {
        let path = path_of(&self.dir, number);
        let file = self.open(number)?;
        let length = file.bytes_len().map_err(|error| io_error("measure", &path, error))?;
        let mut bytes = vec![0; FILE_HEADER_BYTES as usize];
        let read = file.read_at(&mut bytes, 0).map_err(|error| io_error("read", &path, error))?;
        let path = path.display();
        let Some(header) = FileHeader::decode(&bytes[..read]) else {
            return Err(self.damaged(format!("redo file {path} has a damaged header")));
        };
        if !FORMATS.contains(&header.format) {
            let (first, last) = (FORMATS.start(), FORMATS.end());
            let message =
                format!("redo file {path} has format {}, this version reads {first} to {last}", header.format);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if header.store != store {
            return Err(self.damaged(format!("redo file {path} belongs to another store")));
        }
        if header.number != number {
            return Err(self.damaged(format!("redo file {path} is misnumbered: it was written as {}", header.number)));
        }
        if length != header.file_bytes || length > FILE_BYTES_MAX || length < header.frames_offset() {
            return Err(self
                .damaged(format!("redo file {path} is {length} bytes long, it was made with {}", header.file_bytes)));
        }
        Ok(header)
    }

    fn load(&self, number: u64, header: &FileHeader) -> Result<Vec<u8>> {
        let path = path_of(&self.dir, number);
        // The header's length was compared with the file's own and with FILE_BYTES_MAX.
        let mut bytes = vec![0; header.file_bytes as usize];
        let read = self.open(number)?.read_at(&mut bytes, 0).map_err(|error| io_error("read", &path, error))?;
        match read == bytes.len() {
            true => Ok(bytes),
            false => Err(self.damaged(format!("redo file {} ends at byte {read}", path.display()))),
        }
    }

    fn read_begin(&self, bytes: &[u8], header: &FileHeader) -> Result<Began> {
        let mut state = State::default();
        let (mut offset, mut commit) = (header.frames_offset(), header.first_commit);
        for expected_part in 0.. {
            let frame = frame_at(bytes, offset, header)
                .filter(|frame| frame.kind == FrameKind::Begin && frame.commit == commit);
            let part = frame.and_then(|frame| Some((frame, frame::decode_begin(&frame, &mut state)?)));
            let Some((frame, begin)) = part.filter(|(_, begin)| begin.part == expected_part) else {
                return Err(self.damaged(format!("{} has a damaged beginning", self.place(header, offset))));
            };
            offset += frame.bytes();
            commit += 1;
            if begin.part + 1 == begin.parts {
                let (redo_first, packs) = (begin.redo_first, frame.packs);
                return Ok(Began { state, redo_first, offset, commit_next: commit, packs });
            }
        }
        unreachable!("the parts are numbered without end")
    }

    /// At `offset` lies no whole frame of number `commit`: either the log ends here, or the frame stands in
    /// its mirror, or something that was acknowledged is damaged.
    fn judge_bad_place<'a>(
        &self,
        bytes: &'a [u8],
        header: &FileHeader,
        offset: u64,
        commit: u64,
    ) -> Result<Option<Frame<'a>>> {
        let mirrors = [0, 1].map(|slot| {
            let mirror_offset = header.mirror_offset(slot);
            Frame::decode(&bytes[mirror_offset as usize..header.frames_offset() as usize], header)
        });
        let later = frames_in(&bytes[offset as usize..], header)
            .chain(mirrors.into_iter().flatten())
            .filter(|frame| frame.commit > commit)
            .min_by_key(|frame| frame.commit);
        if let Some(later) = later {
            return Err(self.damaged(format!(
                "{} is damaged: commit {commit} is bad, but commit {} after it is whole",
                self.place(header, offset),
                later.commit
            )));
        }
        Ok(mirrors.into_iter().flatten().find(|frame| frame.commit == commit && frame.offset == offset))
    }

    /// A file's last frame is its end frame, and the next file goes on from there. Only a cut between making
    /// the next file and ending this one leaves it open, and then the next holds nothing but its beginning.
    fn check_against_next(&self, end: &ScanEnd, header: &FileHeader) -> Result<()> {
        let next = self.headers.get(&(header.number + 1));
        match next {
            None if end.ended => Err(self.missing(header.number + 1)),
            None => Ok(()),
            Some(next) if end.ended && next.first_commit == end.commit_next => Ok(()),
            Some(next) if !end.ended && next.first_commit == end.commit_next + 1 && next.number == self.newest() => {
                match self.scan(next.number, &mut |_| Ok(()))?.has_steps {
                    false => Ok(()),
                    true => Err(self.damaged(format!(
                        "{} is damaged: commit {} is bad, but the next file goes on",
                        self.place(header, end.offset),
                        end.commit_next
                    ))),
                }
            }
            Some(next) => Err(self.damaged(format!(
                "{} is damaged: commit {} is bad, but the next file begins with commit {}",
                self.place(header, end.offset),
                end.commit_next,
                next.first_commit
            ))),
        }
    }

    fn place(&self, header: &FileHeader, offset: u64) -> String {
        format!("redo file {} at byte {offset}", path_of(&self.dir, header.number).display())
    }

    /// The newest head of every database that any whole frame names. Only for messages: it reads what it can.
    fn known_heads(&self) -> BTreeMap<DatabaseId, Head> {
        let mut known = BTreeMap::new();
        let mut learn = |db: DatabaseId, head: Head| {
            let newest = known.entry(db).or_insert(head);
            if head.seq > newest.seq {
                *newest = head;
            }
        };
        for name in self.disk.list(&self.dir).unwrap_or_default() {
            let Some(bytes) = number_of(&name).and_then(|number| self.read_what_is_there(number)) else { continue };
            let Some(header) = FileHeader::decode(&bytes) else { continue };
            for frame in frames_in(&bytes, &header) {
                let mut begin = State::default();
                match frame.kind {
                    FrameKind::Begin if frame::decode_begin(&frame, &mut begin).is_some() => {
                        begin.heads().iter().for_each(|(db, head)| learn(*db, *head));
                    }
                    FrameKind::Steps => {
                        for change in frame::decode_changes(&frame).unwrap_or_default() {
                            if let Change::Record { db, head, .. } = change {
                                learn(db, head);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        known
    }

    fn read_what_is_there(&self, number: u64) -> Option<Vec<u8>> {
        let file = self.open(number).ok()?;
        let length = file.bytes_len().ok()?.min(FILE_BYTES_MAX);
        let mut bytes = vec![0; length as usize];
        let read = file.read_at(&mut bytes, 0).ok()?;
        bytes.truncate(read);
        Some(bytes)
    }
}

/// How a file begins.
struct Began {
    state: State,
    redo_first: u64,
    /// Where the frame after the beginning goes, and its number.
    offset: u64,
    commit_next: u64,
    packs: crate::sled_store::packs::PackPlace,
}

fn checkpoint_in(frame: &Frame) -> Option<Checkpoint> {
    if frame.kind == FrameKind::Checkpoint { Checkpoint::decode(frame.payload) } else { None }
}

/// The whole frame at this place that says that it belongs there.
fn frame_at<'a>(bytes: &'a [u8], offset: u64, header: &FileHeader) -> Option<Frame<'a>> {
    Frame::decode(bytes.get(offset as usize..)?, header).filter(|frame| frame.offset == offset)
}

/// All whole frames that begin at a multiple of 8.
fn frames_in<'a>(bytes: &'a [u8], header: &FileHeader) -> impl Iterator<Item = Frame<'a>> {
    let starts = bytes.chunks_exact(8).enumerate().filter(|(_, eight)| eight == FRAME_MAGIC).map(|(at, _)| at * 8);
    starts.filter_map(|start| Frame::decode(&bytes[start..], header))
}
