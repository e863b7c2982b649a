//! Letting go of what is not needed: redo files by saying again what they alone hold, and a scrub, after which no byte of
//! what went before it is in any file.
//!
//! A scrub goes through three sorts of files, in pieces, each beside all that goes on. *Packs* with anything in them that
//! is not needed are copied and emptied, up to the one that was written when it began. *Redo files* are begun anew; what is
//! needed of the others is said again, and they are removed. *sled* is made anew beside itself, without what it keeps of
//! older times. A crash leaves some of this done, and a store as whole as before.

use super::engine::renewal::remove_dir;
use super::engine::{Engine, Found};
use super::redo::number_of;
use super::redo::trim;
use super::{SledStore, io_error, recover};
use crate::state::{Answer, Step};
use crate::{Compacted, Compaction, Entropy, Error, ErrorKind, Result, Scrub, ScrubTicket, Scrubbed};
use std::sync::PoisonError;
use std::time::Duration;

/// Records are said again to make redo files needless when there are so many beside the one that is written.
const REDO_FILES_LEFT: u64 = 4;

/// So long a piece of a scrub waits that can do nothing yet: for a redo file that is being prepared, or for segments that
/// are on their way into the directory.
const PAUSE: Duration = Duration::from_millis(2);

/// Tickets of one process are numbered from a random number on that is a multiple of this.
const TICKETS: u64 = 1 << 24;

/// The scrubs of a process.
pub(crate) struct Scrubbing {
    /// The ticket of the scrub numbered 0, which nobody has.
    tickets_from: u64,
    /// The newest scrub that is done.
    done: u64,
    /// The newest that was asked for.
    asked: u64,
    /// How far the one after `done` is, if it was begun.
    stage: Option<Stage>,
}

#[derive(Clone, Copy)]
enum Stage {
    /// Packs before this one.
    Packs { before: u64 },
    /// A redo file shall be begun.
    NewRedo,
    /// Redo files before this one.
    Redo { before: u64 },
    /// sled is being copied.
    Sled,
}

impl Scrubbing {
    pub(crate) fn new(entropy: &Entropy) -> Result<Scrubbing> {
        let mut random = [0; 8];
        entropy(&mut random)
            .map_err(|error| Error::new(ErrorKind::Io, "no random bytes can be had").with_source(error))?;
        // Not 0, which means that there is no ticket where tickets are numbers only.
        let tickets_from = (u64::from_le_bytes(random) | TICKETS) / TICKETS * TICKETS;
        Ok(Scrubbing { tickets_from, done: 0, asked: 0, stage: None })
    }

    /// The number of the scrub that a caller asks for: the one of his ticket, or one that begins after this call.
    fn number_of(&mut self, ticket: Option<ScrubTicket>) -> u64 {
        let known = ticket.and_then(|ticket| ticket.0.checked_sub(self.tickets_from));
        match known.filter(|number| (1..=self.asked).contains(number)) {
            Some(number) => number,
            None => {
                self.asked = self.done + 1 + u64::from(self.stage.is_some());
                self.asked
            }
        }
    }
}

impl SledStore {
    /// Does a piece of a scrub.
    pub(super) fn scrub_some(&self, scrubbing: &mut Scrubbing, wanted: Scrub) -> Result<Scrubbed> {
        let engine = self.engine()?;
        let number = scrubbing.number_of(wanted.ticket);
        let ticket = ScrubTicket(scrubbing.tickets_from + number);
        let mut done = Compacted::default();
        if scrubbing.done < number {
            let stage = match scrubbing.stage {
                Some(stage) => stage,
                None => Stage::Packs { before: self.in_packs(&engine, |packs| packs.end_the_tail_for_scrub())? },
            };
            scrubbing.stage = Some(stage);
            match self.scrub_stage(&engine, stage, wanted.copy_bytes_max.max(1), &mut done) {
                Ok(next) => scrubbing.stage = next,
                Err(error) => {
                    // Whoever asks again begins anew, with what changed since.
                    scrubbing.stage = None;
                    engine.give_up_renewal();
                    return Err(error);
                }
            }
            scrubbing.done += u64::from(scrubbing.stage.is_none());
        }
        let more = scrubbing.done < number;
        let left_bytes = if more { self.scrub_bytes_left(&engine, scrubbing.stage)? } else { 0 };
        let Compacted { copied_bytes, freed_bytes, .. } = done;
        Ok(Scrubbed { ticket, copied_bytes, freed_bytes, left_bytes, more })
    }

    /// Does a piece of a stage, and says in which stage the next one is; None: that was all.
    fn scrub_stage(
        &self,
        engine: &Engine,
        stage: Stage,
        copy_bytes_max: u64,
        done: &mut Compacted,
    ) -> Result<Option<Stage>> {
        Ok(Some(match stage {
            Stage::Packs { before } => {
                let wanted = Compaction { copy_bytes_max, live_percent_max: 100 };
                *done = self.in_packs(engine, |packs| packs.scrub(before, wanted))?;
                if !done.damaged.is_empty() {
                    return Err(self.cannot_be_read(&done.damaged));
                }
                match done.more {
                    true if *done == (Compacted { more: true, ..Compacted::default() }) => {
                        std::thread::sleep(PAUSE);
                        stage
                    }
                    true => stage,
                    false => Stage::NewRedo,
                }
            }
            Stage::NewRedo => match self.queue.submit(Step::NewFile)? {
                Answer::NewFile(true) => {
                    let before = self.redo.files().end;
                    self.redo.set_target(before);
                    Stage::Redo { before }
                }
                _ => {
                    std::thread::sleep(PAUSE);
                    stage
                }
            },
            Stage::Redo { before } => {
                // Compacting may have come to it, and further, in between.
                if self.redo.files().start < before {
                    self.say_again_from(engine, before, copy_bytes_max, done)?;
                }
                if done.more {
                    return Ok(Some(stage));
                }
                self.remove_redo_before(before)?;
                self.check_space_for_renewal()?;
                engine.renew()?;
                Stage::Sled
            }
            Stage::Sled => {
                let copied = engine.copy_to_next(copy_bytes_max)?;
                done.copied_bytes += copied.bytes;
                if copied.more {
                    return Ok(Some(stage));
                }
                engine.finish_renewal()?;
                self.remove_asides()?;
                return Ok(None);
            }
        }))
    }

    fn cannot_be_read(&self, damaged: &[crate::SegmentKey]) -> Error {
        let first = &damaged[0];
        let more = match damaged.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!(
            "segment {first:?}{more} in {} cannot be read, so the pack it lies in stays, with what was deleted there; \
             repair the database or delete the segment, then scrub again",
            self.dir.join(recover::PACKS_DIR).display()
        );
        Error::new(ErrorKind::Corrupt, message)
    }

    /// Removes redo files before this one, which are let go of: whoever was told to do so may not have come to it.
    fn remove_redo_before(&self, before: u64) -> Result<()> {
        let redo_dir = self.dir.join(recover::REDO_DIR);
        if self.redo.files().start < before {
            let message = format!("redo files in {} before {before} are needed still", redo_dir.display());
            return Err(Error::new(ErrorKind::Io, message));
        }
        let disk = &*self.options.disk;
        let names = disk.list(&redo_dir).map_err(|error| io_error("list", &redo_dir, error))?;
        let gone = names.iter().filter_map(|name| number_of(name)).filter(|number| *number < before);
        trim::remove(disk, &redo_dir, gone).map_err(|error| io_error("remove redo files of", &redo_dir, error))
    }

    /// What is copied of sled needs room beside it.
    fn check_space_for_renewal(&self) -> Result<()> {
        let disk = &*self.options.disk;
        let free = disk.bytes_free(&self.dir).map_err(|error| io_error("measure", &self.dir, error))?;
        let needed =
            super::bytes_in(disk, &self.dir.join(recover::SLED_DIR))?.saturating_add(self.options.free_bytes_reserve);
        if free >= needed {
            return Ok(());
        }
        let message = format!("less than {needed} bytes are free for {}; free some space", self.dir.display());
        Err(Error::new(ErrorKind::Busy, message))
    }

    /// Removes what was set aside of sled.
    fn remove_asides(&self) -> Result<()> {
        let names = self.options.disk.list(&self.dir).map_err(|error| io_error("list", &self.dir, error))?;
        let asides = names.iter().filter(|name| name.starts_with(recover::ASIDE_PREFIX));
        asides.map(|name| self.dir.join(name)).try_for_each(|dir| remove_dir(&dir))
    }

    fn scrub_bytes_left(&self, engine: &Engine, stage: Option<Stage>) -> Result<u64> {
        let disk = &*self.options.disk;
        let bytes_in = |dir: &str| super::bytes_in(disk, &self.dir.join(dir));
        let in_packs = match stage {
            Some(Stage::Packs { before }) => self.in_packs(engine, |packs| packs.scrub_bytes_left(before))?,
            _ => 0,
        };
        let in_redo = match stage {
            Some(Stage::Sled) => 0,
            _ => bytes_in(recover::REDO_DIR)?,
        };
        Ok(in_packs + in_redo + bytes_in(recover::SLED_DIR)?)
    }

    /// Says records again that keep old redo files alone from being removed, within the bounds: a database that is
    /// written to once in a while would keep all files since.
    pub(super) fn keep_records(&self, engine: &Engine, wanted: Compaction, done: &mut Compacted) -> Result<()> {
        let files_left = if wanted.live_percent_max >= 100 { 1 } else { REDO_FILES_LEFT };
        match self.redo.target(files_left) {
            Some(target) => self.say_again_from(engine, target, wanted.copy_bytes_max, done),
            None => Ok(()),
        }
    }

    /// Says all records again, within the bounds, that are before redo file `target` alone, and lets go of those files.
    fn say_again_from(&self, engine: &Engine, target: u64, copy_bytes_max: u64, done: &mut Compacted) -> Result<()> {
        let disk = &*self.options.disk;
        let redo_dir = self.dir.join(recover::REDO_DIR);
        let (_, beginning) =
            trim::read_beginning(disk, &redo_dir, target).map_err(|error| io_error("read", &redo_dir, error))?;
        // The newest of them may be on their way into sled.
        self.lag.wait_for_all()?;
        for (db, head) in beginning.heads() {
            let mut next = engine.sealed_before(*db)?.max(self.redo.kept_through(*db, target) + 1);
            while next <= head.seq {
                if done.copied_bytes >= copy_bytes_max {
                    done.more = true;
                    return Ok(());
                }
                let _none_is_replaced = self.replacing.write().unwrap_or_else(PoisonError::into_inner);
                match engine.records(*db, next, head.seq, self.kept_at_once())? {
                    Found::Records(records) => {
                        next += records.len() as u64;
                        done.copied_bytes += records.iter().map(|record| record.bytes.len() as u64).sum::<u64>();
                        self.queue.submit(Step::Keep { db: *db, records })?;
                        self.redo.kept(*db, next - 1, target);
                    }
                    // Sealed or dropped meanwhile, or damaged.
                    Found::Broken(what) => match engine.sealed_before(*db)? {
                        sealed_before if sealed_before > next => next = sealed_before,
                        _ if engine.head(*db)?.is_none() => break,
                        _ => {
                            let message = format!("sled in {}: {what}", self.dir.display());
                            return Err(Error::new(ErrorKind::Corrupt, message));
                        }
                    },
                }
            }
        }
        let before = self.redo.files().start;
        self.queue.checkpoint()?;
        self.redo.target_reached();
        done.freed_bytes += (self.redo.files().start - before) * self.options.redo_file_bytes;
        Ok(())
    }

    /// Bytes of records that fit into one frame with others.
    fn kept_at_once(&self) -> usize {
        self.options.frame_bytes_max as usize / 4
    }
}
