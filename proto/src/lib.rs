//! The wire contract and its conversions to and from the types of db.
//!
//! [`v1`] is generated from `proto/diachron/v1/*.proto`, which is the contract: clients in other languages are
//! generated from the same files. It only grows; a field's number is never used again for something else.

mod descriptors;
mod error;
mod form;
mod time_point;
mod value;

pub use error::{
    CORRELATION_ID, CORRELATION_KEY, ERROR_DETAIL_KEY, OrStatus, RETRY_AFTER_MS, correlate, correlation_id, error,
    has_detail, retry_after, status, transact_error, was_never_sent,
};
pub use form::{form, tx_data};
pub use time_point::time_point;
pub use value::{datom, item};

/// Messages, clients and servers of the package `diachron.v1`.
#[allow(clippy::all)]
pub mod v1 {
    tonic::include_proto!("diachron.v1");
}

/// The encoded file descriptors of the contract, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The paths of all methods of the contract, such as `/diachron.v1.Peer/Query`.
pub fn methods() -> Vec<String> {
    descriptors::methods(DESCRIPTORS)
}

/// What the tx-data of a request takes, in whichever form it was given.
pub fn tx_data_bytes(request: &v1::TransactRequest) -> usize {
    request.tx_data.len() + request.tx_data_forms.iter().map(prost::Message::encoded_len).sum::<usize>()
}

/// The largest message that clients and servers of ours take and give, in bytes; the same both ways, so that
/// whatever one side may send the other may read.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
