//! The work after the `erase` record: what still has the bytes of what was erased gives them up. Each step may be done
//! again.

use super::{Told, floor_of, newest_erase, sweep};
use crate::commit::Database;
use crate::errors::{fenced, from_storage, stopping};
use crate::garbage;
use crate::host::World;
use cache::Reader;
use db::{Category, Error, Result};
use process::{Failpoint, Shutdown};
use std::sync::Arc;
use std::time::Duration;
use storage::{DatabaseId, PodPut, PodVersion, Scrub};
use tokio::sync::MutexGuard;

/// What the names of pods begin with that say so.
pub const PODS: &str = "erasing/";

pub struct Finishing<'a> {
    pub world: &'a World,
    pub database: &'a Arc<Database>,
    pub told: &'a Told,
    pub point: &'a Failpoint,
    pub shutdown: &'a Shutdown,
}

/// While a fork is being made its segments are not known yet: between two looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOOKS_MAX: u32 = 1200;

impl Finishing<'_> {
    /// Gives how many segments were deleted. `at_work` keeps index jobs away until what they would read is gone.
    pub async fn run(&self, at_work: MutexGuard<'_, ()>) -> Result<u64> {
        let (world, database) = (self.world, self.database);
        let durable = database.durable();
        let floor = floor_of(&durable);
        let lineage = durable.chain.lineage().unwrap_or(durable.chain.database());
        world.cache.erased_before(Reader { lineage, database: durable.chain.database() }, floor);
        self.tell("sealing")?;
        world.journal.seal(database.id, floor).map_err(from_storage)?;
        // Before anything is deleted: indexes of before are not whole from here on.
        garbage::Pod::read(world, database.id)?.keep_from(world, floor)?;
        self.tell("deleting")?;
        let erase = newest_erase(world, database)?;
        let deleted = self.sweep(&erase).await?;
        drop(at_work);
        self.scrub()?;
        Pod::read(world, database.id)?.delete(world)?;
        Ok(deleted)
    }

    async fn sweep(&self, erase: &db::log::EraseBody) -> Result<u64> {
        for _ in 0..LOOKS_MAX {
            self.check()?;
            match sweep::run(self, erase)? {
                Some(deleted) => return Ok(deleted),
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        let message =
            "a fork is being made for a long time, and nothing it may need is deleted meanwhile; it is tried again";
        Err(Error::new(Category::Busy, "db.error/busy", message))
    }

    /// No byte of what was deleted and sealed is in any file of the store when it returns.
    fn scrub(&self) -> Result<()> {
        let mut wanted = Scrub::default();
        let mut copied_bytes = 0;
        loop {
            self.check()?;
            let scrubbed = self.world.segments.scrub(wanted).map_err(from_storage)?;
            wanted.ticket = Some(scrubbed.ticket);
            copied_bytes += scrubbed.copied_bytes;
            // Whoever asked may have gone away; it is done all the same.
            let _ = (self.told)("scrubbing", copied_bytes, copied_bytes + scrubbed.left_bytes);
            if !scrubbed.more {
                break;
            }
        }
        self.point.pass();
        Ok(())
    }

    pub fn check(&self) -> Result<()> {
        match self.shutdown.is_asked() || self.database.stopped().is_some() {
            true => Err(stopping()),
            false => Ok(()),
        }
    }

    fn tell(&self, stage: &str) -> Result<()> {
        self.point.pass();
        let _ = (self.told)(stage, 0, 0);
        self.check()
    }
}

/// Says that there is an erasure to be finished: the pod `erasing/ID`, as text the seq that its record has, if it was
/// written.
pub struct Pod {
    name: String,
    version: PodVersion,
    text: String,
}

impl Pod {
    pub fn read(world: &World, id: DatabaseId) -> Result<Pod> {
        let name = format!("{PODS}{id}");
        let (version, bytes) = world.journal.read_pod(&name).map_err(from_storage)?.unwrap_or_default();
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::corrupt("db.error/storage-corrupt", format!("pod {name:?} does not hold text")))?;
        Ok(Pod { name, version, text })
    }

    pub fn seq(&self) -> Option<u64> {
        self.text.strip_prefix("seq ").and_then(|seq| seq.parse().ok())
    }

    pub fn note(self, world: &World, seq: u64) -> Result<()> {
        let put = world.journal.put_pod(&self.name, self.version, format!("seq {seq}").as_bytes());
        self.settle(put.map_err(from_storage)?)
    }

    pub fn delete(self, world: &World) -> Result<()> {
        if self.version == 0 {
            return Ok(());
        }
        let deleted = world.journal.delete_pod(&self.name, self.version);
        self.settle(deleted.map_err(from_storage)?)
    }

    fn settle(&self, put: PodPut) -> Result<()> {
        match put {
            PodPut::Done(_) => Ok(()),
            PodPut::Conflict(_) => Err(fenced(format!("pod {:?} was changed by another transactor", self.name))),
        }
    }
}
