//! What is left of deleted databases.

use super::collect::{Class, KEYS_AT_ONCE, Pod, Report};
use super::lineage::{self, Root};
use super::marks::Marks;
use super::{Collector, cancelled};
use crate::catalogue::{Catalogue, Entry};
use crate::erasing;
use crate::errors::from_storage;
use db::log::BodyPlace;
use db::{Instant, Result};
use process::Failpoint;
use storage::{DatabaseId, SegmentKey};

/// What other databases of the lineage need of a deleted one.
struct Needed {
    shared: Vec<Root>,
    /// There are no others.
    alone: bool,
}

impl Needed {
    fn by_others(&self, key: &SegmentKey, marks: &Marks) -> bool {
        // Which bodies the records of a shared log name is not looked into: they stay as long as there are others.
        if key.job == BodyPlace::JOB {
            return !self.alone;
        }
        let job = key.job.strip_prefix("index-").and_then(|job| job.parse::<u64>().ok());
        job.map_or(!self.alone, |job| marks.of(key.term, job, &key.hash).is_some())
    }
}

impl Collector {
    /// Removes segments, then the log, then the last pod, when the database was found deleted retention ago. Cut off
    /// anywhere, it goes on the next time.
    pub(super) fn of_deleted(&self, entry: Entry, dry_run: bool, point: &Failpoint) -> Result<Report> {
        let (world, id) = (&self.world, entry.id);
        let _held = self.hold();
        let go_on = || if self.shutdown.is_asked() { Err(cancelled()) } else { Ok(()) };
        let others: Vec<Entry> = self.lineage_of(id)?.into_iter().filter(|other| other.id != id).collect();
        let shared = lineage::roots(world, &others, id, &go_on)?;
        let needed = Needed { shared, alone: others.is_empty() };
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
        let is_whole = (!is_due && !dry_run) || self.sweep_deleted(id, is_due, dry_run, point, &mut report, &needed)?;
        if is_due && !dry_run && is_whole {
            point.pass();
            let catalogue = Catalogue::new(world.journal.clone());
            catalogue.free_name(&entry)?;
            world.journal.drop_database(id).map_err(from_storage)?;
            Pod::read(world, id)?.delete(world)?;
            erasing::Pod::read(world, id)?.delete(world)?;
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
        needed: &Needed,
    ) -> Result<bool> {
        let go_on = || if self.shutdown.is_asked() { Err(cancelled()) } else { Ok(()) };
        let mut marks = Marks::new(self.settings.marks_max);
        let mut is_whole = true;
        loop {
            needed.shared.iter().try_for_each(|root| lineage::mark(&self.world, root, &mut marks, &go_on))?;
            if marks.shrink() {
                if dry_run {
                    report.rows.clear();
                }
                continue;
            }
            is_whole &= self.sweep_part(id, is_due, dry_run, point, report, (needed, &marks))?;
            if !marks.next_part() {
                return Ok(is_whole);
            }
        }
    }

    fn sweep_part(
        &self,
        id: DatabaseId,
        is_due: bool,
        dry_run: bool,
        point: &Failpoint,
        report: &mut Report,
        (needed, marks): (&Needed, &Marks),
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
            for key in keys.into_iter().filter(|key| marks.is_of_part(&key.hash)) {
                let class = match needed.by_others(&key, marks) {
                    true => Class::Shared,
                    false if is_due => Class::Deleted,
                    false => Class::Waiting,
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
