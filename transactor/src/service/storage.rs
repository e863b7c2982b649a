//! The read side of the store, as this process serves it.

use crate::tree;
use db::Result;
use proto::OrStatus;
use storage::DatabaseId;
use stores::reading::StreamActors;
use tonic::Status;

pub use stores::reading::StorageService;
pub use stores::wire::head as wire_head;

/// The actors that feed its streams.
pub const STREAM_ACTORS: StreamActors = StreamActors { log: &tree::LOG_STREAM, segment: &tree::SEGMENT_STREAM };

pub fn database_id(bytes: &[u8]) -> Result<DatabaseId, Status> {
    stores::wire::database_id_of(bytes).or_status()
}
