//! Giving back the space of deleted segments.
//!
//! What is left in a pack is copied to the newest one, and the directory led there. When a redo frame says that the
//! packs are durable up to the copies and sled with what the directory says now (a checkpoint says both), the pack is
//! replaced by its header alone. A crash before that leaves all segments where they were, and copies that nobody knows.
//! So at every moment a segment can be read at the place that the directory names, and at some place in the packs.

use super::frame::{FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FileHeader, FrameHeader};
use super::scan::next_frame;
use super::{EMPTIED_FILE, Pack, PackPlace, Packs, locked, path_of};
use crate::sled_store::directory::{Directory, Entry};
use crate::sled_store::engine::Engine;
use crate::sled_store::io_error;
use crate::{Compacted, Compaction, Error, ErrorKind, Result};

/// Copies become durable, and are put into the directory, in batches of about so many bytes.
const BATCH_BYTES: u64 = 8 << 20;

/// The newest pack is ended for the sake of what is dead in it when it has this part of its full length.
const TAIL_PARTS: u64 = 8;

/// What compacting needs of the store.
pub(crate) struct Compacting<'a> {
    pub(crate) packs: &'a Packs,
    pub(crate) directory: &'a Directory,
    pub(crate) engine: &'a Engine,
    /// Refuses when too little space is free.
    pub(crate) check_space: &'a dyn Fn() -> Result<()>,
    /// Returns when a checkpoint was written that began after the call.
    pub(crate) checkpoint: &'a dyn Fn() -> Result<()>,
}

/// What a pack holds, its header not counted.
#[derive(Clone, Copy)]
struct Fill {
    number: u64,
    live: u64,
    total: u64,
}

/// Whether something stays in a pack.
enum Left {
    Nothing,
    /// The bounds were reached, or a segment cannot be read.
    Something,
}

impl Compacting<'_> {
    pub(crate) fn run(&self, wanted: Compaction) -> Result<Compacted> {
        self.end_the_tail_if_worth_it(wanted)?;
        let candidates = self.fills()?.into_iter().filter(|fill| worth_it(fill, wanted)).collect();
        self.copy_and_empty(candidates, wanted)
    }

    /// Ends the newest pack if anything in it is not needed, and returns the number of the first pack in which nothing
    /// has been deleted yet.
    pub(crate) fn end_the_tail_for_scrub(&self) -> Result<u64> {
        let mut tail = locked(&self.packs.tail);
        let fill = self.fill(tail.number, tail.offset);
        // One that must not be continued is as good as ended, and may have something behind its end.
        let is_unclean = tail.pack.is_none() || fill.live < fill.total;
        if tail.number > 0 && is_unclean {
            self.packs.rotate(&mut tail)?;
        }
        Ok(tail.number)
    }

    /// Lets go of all that is not needed in packs before this one, as much as is asked for.
    pub(crate) fn scrub(&self, before: u64, wanted: Compaction) -> Result<Compacted> {
        let candidates = self.unclean(before)?;
        let mut done = self.copy_and_empty(candidates, wanted)?;
        // Segments may be on their way into the directory; the next call finds them there.
        done.more |= self.packs.judged_before() < before;
        Ok(done)
    }

    /// What is live in packs before this one that have to be copied.
    pub(crate) fn scrub_bytes_left(&self, before: u64) -> Result<u64> {
        Ok(self.unclean(before)?.iter().map(|fill| fill.live).sum())
    }

    /// Packs before this one in which there is anything that is not needed, be it behind their end.
    fn unclean(&self, before: u64) -> Result<Vec<Fill>> {
        let fills = self.fills()?.into_iter().filter(|fill| fill.number < before);
        let mut unclean = Vec::new();
        for fill in fills {
            let bytes = self.packs.file_bytes(fill.number)?.saturating_sub(FILE_HEADER_BYTES);
            let fill = Fill { total: fill.total.max(bytes), ..fill };
            if fill.live < fill.total {
                unclean.push(fill);
            }
        }
        Ok(unclean)
    }

    fn copy_and_empty(&self, mut candidates: Vec<Fill>, wanted: Compaction) -> Result<Compacted> {
        let mut done = Compacted::default();
        candidates.sort_by_key(|fill| (fill.live * 1000 / fill.total.max(1), fill.number));
        let mut bare = Vec::new();
        for fill in candidates {
            if fill.live > 0 && done.copied_bytes >= wanted.copy_bytes_max {
                done.more = true;
                break;
            }
            if let Left::Nothing = self.copy_out_of(fill, wanted, &mut done)? {
                bare.push(fill);
            }
        }
        if !bare.is_empty() {
            (self.checkpoint)()?;
            for fill in bare {
                self.packs.empty(fill.number)?;
                done.freed_bytes += fill.total;
            }
        }
        Ok(done)
    }

    /// Ended packs that were not emptied yet. One with a segment that is on its way into the directory is left out, and
    /// all after it: what the directory does not name there may be named a moment later.
    fn fills(&self) -> Result<Vec<Fill>> {
        let before = self.packs.judged_before();
        let ends = self.packs.ends();
        let ended = ends.into_iter().filter(|(number, _)| *number < before);
        Ok(ended.map(|(number, end)| self.fill(number, end)).collect())
    }

    fn fill(&self, number: u64, end: u64) -> Fill {
        Fill { number, live: self.directory.live_bytes(number), total: end.saturating_sub(FILE_HEADER_BYTES) }
    }

    fn end_the_tail_if_worth_it(&self, wanted: Compaction) -> Result<()> {
        let mut tail = locked(&self.packs.tail);
        // What is on its way into the directory is not dead.
        if tail.pack.is_none() || !tail.in_flight.is_empty() {
            return Ok(());
        }
        let fill = self.fill(tail.number, tail.offset);
        let is_long = fill.total >= self.packs.pack_bytes_target / TAIL_PARTS || wanted.live_percent_max >= 100;
        if is_long && worth_it(&fill, wanted) { self.packs.rotate(&mut tail) } else { Ok(()) }
    }

    /// Copies segments out of a pack, within the bounds.
    fn copy_out_of(&self, fill: Fill, wanted: Compaction, done: &mut Compacted) -> Result<Left> {
        if fill.live == 0 {
            return Ok(Left::Nothing);
        }
        let mut left = Left::Nothing;
        let mut batch = Vec::new();
        let (mut batch_bytes, mut end) = (0, PackPlace::START);
        let Some(mut frames) = self.packs.frames(fill.number) else { return Ok(Left::Something) };
        while let Some((place, header)) = frames.next()? {
            let from = Entry { place, length: header.length };
            if self.directory.find(self.engine, &header.key)? != Some(from) {
                continue;
            }
            if done.copied_bytes > 0 && done.copied_bytes + header.bytes() > wanted.copy_bytes_max {
                (done.more, left) = (true, Left::Something);
                break;
            }
            (self.check_space)()?;
            let body = match self.packs.read(place, header.length, &header.key) {
                Ok(body) => body,
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    // Deleted meanwhile it would not matter; either way it stays where it is.
                    done.damaged.push(header.key);
                    left = Left::Something;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let (placed, placed_end) = self.packs.write(&header.key, &body)?;
            end = placed_end;
            batch_bytes += header.bytes();
            done.copied_bytes += header.bytes();
            batch.push((header.key, from, placed));
            if batch_bytes >= BATCH_BYTES {
                self.lead_there(&mut batch, end)?;
                batch_bytes = 0;
            }
        }
        self.lead_there(&mut batch, end)?;
        // A segment in a damaged frame is none that could be found; the pack stays for whoever looks for it.
        match self.directory.live_bytes(fill.number) {
            0 => Ok(left),
            _ => Ok(Left::Something),
        }
    }

    /// Makes copies durable, and leads the directory to them where it still leads to their originals.
    fn lead_there(&self, batch: &mut Vec<(crate::SegmentKey, Entry, super::Placed)>, end: PackPlace) -> Result<()> {
        self.packs.sync_up_to(end)?;
        for (key, from, placed) in batch.drain(..) {
            self.directory.lead(self.engine, &key, from, Entry { place: placed.place, ..from })?;
        }
        Ok(())
    }
}

fn worth_it(fill: &Fill, wanted: Compaction) -> bool {
    fill.live < fill.total && fill.live * 100 <= fill.total * u64::from(wanted.live_percent_max)
}

impl Packs {
    /// Of every pack that was not emptied, where its frames end.
    pub(crate) fn ends(&self) -> Vec<(u64, u64)> {
        let tail = {
            let tail = locked(&self.tail);
            (tail.number, tail.offset)
        };
        let files = locked(&self.files);
        let there = files.values().map(|pack| &pack.header).filter(|header| !header.emptied);
        let end_of = |header: &FileHeader| match files.get(&(header.number + 1)) {
            Some(next) => next.header.before_end,
            None => tail.1,
        };
        there.map(|header| (header.number, end_of(header))).collect()
    }

    /// Packs before this one are ended, and every segment in them that is needed is in the directory.
    fn judged_before(&self) -> u64 {
        let tail = locked(&self.tail);
        tail.in_flight.first().map_or(tail.number, |place| place.pack)
    }

    /// How long a pack's file is, with what may lie behind its end; 0 when there is none.
    fn file_bytes(&self, number: u64) -> Result<u64> {
        let pack = locked(&self.files).get(&number).cloned();
        let length = pack.map_or(Ok(0), |pack| pack.file.bytes_len());
        length.map_err(|error| io_error("measure", &path_of(&self.dir, number), error))
    }

    /// The headers of all segments in an ended pack, in their order; None when it was emptied.
    fn frames(&self, number: u64) -> Option<Frames> {
        let files = locked(&self.files);
        let pack = files.get(&number).filter(|pack| !pack.header.emptied)?.clone();
        let end = files.get(&(number + 1))?.header.before_end;
        Some(Frames { path: path_of(&self.dir, number), pack, offset: FILE_HEADER_BYTES, end })
    }

    /// Replaces a pack by its header alone.
    fn empty(&self, number: u64) -> Result<()> {
        let Some(pack) = locked(&self.files).get(&number).cloned() else { return Ok(()) };
        let header = FileHeader { emptied: true, ..(*pack.header).clone() };
        let path = path_of(&self.dir, number);
        let file = self.create(EMPTIED_FILE, &header).map_err(|error| io_error("empty", &path, error))?;
        locked(&self.files).insert(number, Pack { header: header.into(), file });
        Ok(())
    }
}

/// Goes from frame to frame by what their headers say, and looks for the next one where there is none.
struct Frames {
    path: std::path::PathBuf,
    pack: Pack,
    offset: u64,
    end: u64,
}

impl Frames {
    fn next(&mut self) -> Result<Option<(PackPlace, FrameHeader)>> {
        let pack = self.pack.header.number;
        while self.offset < self.end {
            let mut bytes = [0; FRAME_HEADER_BYTES];
            let read = self.pack.file.read_at(&mut bytes, self.offset);
            let read = read.map_err(|error| io_error("read", &self.path, error))?;
            let header = FrameHeader::decode(&bytes[..read], &self.pack.header);
            if let Some(header) = header.filter(|header| header.offset == self.offset) {
                let place = PackPlace { pack, offset: self.offset };
                self.offset += header.bytes();
                return Ok(Some((place, header)));
            }
            self.offset = next_frame(&self.path, &self.pack, self.offset + 8, self.end)?.unwrap_or(self.end);
        }
        Ok(None)
    }
}

/// Why a segment was not at the place that the directory names: it may have been copied since.
pub(crate) fn may_have_moved(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt
}
