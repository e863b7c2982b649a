//! What a storage process shows of its store. Names are documented in docs/operations.md.

use process::metrics::{self, Registry};
use std::sync::Arc;
use storage::{Journal, Segments, Waiting};
use stores::writing::SegmentRoom;

pub fn show(registry: &mut Registry, journal: Arc<dyn Journal>, segments: Arc<dyn Segments>, room: SegmentRoom) {
    let registry = registry.sub_registry_with_prefix("storage");
    metrics::readings(registry, move |readings| {
        for Waiting { name, what, now, most } in journal.queues() {
            readings.gauge(&format!("store_{name}"), what, now);
            readings.gauge(&format!("store_{name}_max"), &format!("{what}, at most"), most);
        }
        let (now, most) = room.bytes();
        readings.gauge("incoming_bytes", "Segments that are on their way in", now);
        readings.gauge("incoming_bytes_max", "Segments that may be on their way in", most);
        // A store that has failed shows nothing more of this; the process is about to end.
        if let Ok(usage) = segments.usage() {
            readings.gauge("journal_bytes", "The files that are the log's durable home", usage.journal_bytes);
            readings.gauge("segments_live_bytes", "Segments that are there, in their files", usage.live_bytes);
            readings.gauge("segments_dead_bytes", "Deleted segments that take space still", usage.dead_bytes);
            readings.gauge("engine_bytes", "The copy of the log that is read from", usage.engine_bytes);
            readings.gauge("free_bytes", "What may still be written to the disk", usage.free_bytes);
        }
    });
}
