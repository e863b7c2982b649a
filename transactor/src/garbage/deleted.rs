//! What is left of deleted databases.

use super::collect::{Class, KEYS_AT_ONCE, Pod, Report};
use super::{Collector, OF_A_FORK, cancelled};
use crate::catalogue::{Catalogue, Entry};
use crate::errors::from_storage;
use db::{Error, Instant, Result};
use process::Failpoint;
use storage::{DatabaseId, SegmentKey};

impl Collector {
    /// Removes segments, then the log, then the last pod, when the database was found deleted retention ago. Cut off
    /// anywhere, it goes on the next time.
    pub(super) fn of_deleted(&self, entry: Entry, dry_run: bool, point: &Failpoint) -> Result<Report> {
        let (world, id) = (&self.world, entry.id);
        let _held = self.hold();
        if let Some(shares) = self.shares_segments(id)? {
            return Err(Error::unsupported(OF_A_FORK, format!("{shares}, which need what is left of it")));
        }
        let mut report = Report::new(&entry.name, id);
        let pod = Pod::read(world, id)?;
        let now = world.clock.now();
        let retention = i64::try_from(self.settings.retention.as_millis()).unwrap_or(i64::MAX);
        let deleted_at = pod.deleted_at();
        let is_due = deleted_at.unwrap_or(now).0.saturating_add(retention) <= now.0;
        if !dry_run && deleted_at.is_none() {
            let Instant(ms) = now;
            pod.put(world, format!("deleted {ms}"))?;
        }
        let is_whole = (!is_due && !dry_run) || self.sweep_deleted(id, is_due, dry_run, point, &mut report)?;
        if is_due && !dry_run && is_whole {
            point.pass();
            let catalogue = Catalogue::new(world.journal.clone());
            catalogue.free_name(&entry)?;
            world.journal.drop_database(id).map_err(from_storage)?;
            Pod::read(world, id)?.delete(world)?;
            catalogue.clear(entry)?;
        }
        self.tell(&report, dry_run);
        Ok(report)
    }

    /// Goes through all segments of a deleted database; whether all of them went, or would.
    fn sweep_deleted(
        &self,
        id: DatabaseId,
        is_due: bool,
        dry_run: bool,
        point: &Failpoint,
        report: &mut Report,
    ) -> Result<bool> {
        let segments = &*self.world.segments;
        let mut is_whole = true;
        let mut after: Option<SegmentKey> = None;
        loop {
            if self.shutdown.is_asked() {
                return Err(cancelled());
            }
            point.pass();
            let keys = segments.list(id, after.as_ref(), KEYS_AT_ONCE).map_err(from_storage)?;
            let Some(last) = keys.last() else { return Ok(is_whole) };
            after = Some(last.clone());
            let mut garbage = Vec::new();
            for key in keys {
                // Those of another lineage may be needed by a database of it.
                let class = match (key.lineage == id, is_due) {
                    (false, _) => Class::Foreign,
                    (true, true) => Class::Deleted,
                    (true, false) => Class::Waiting,
                };
                let Some(bytes) = segments.length(&key).map_err(from_storage)? else { continue };
                report.add(class, bytes);
                is_whole &= class.goes();
                garbage.extend(class.goes().then_some(key));
            }
            if !dry_run && !garbage.is_empty() {
                segments.delete_all(&garbage).map_err(from_storage)?;
            }
        }
    }
}
