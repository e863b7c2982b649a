//! Errors, there and back: a gRPC status by category, and an [`v1::ErrorDetail`] beside it.

use crate::v1;
use bytes::Bytes;
use db::edn::Edn;
use db::{Category, Error};
use prost::Message;
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, ConnectError, Status};

/// The trailing metadata entry that carries the [`v1::ErrorDetail`].
pub const ERROR_DETAIL_KEY: &str = "diachron-error-bin";

/// The detail of an error that says when to come back, in milliseconds.
pub const RETRY_AFTER_MS: &str = "retry-after-ms";

/// The metadata entry, of requests and answers, that carries the id under which a call is in the servers' logs.
pub const CORRELATION_KEY: &str = "diachron-correlation-id";

/// The detail of an error that tells the correlation id of the call that failed.
pub const CORRELATION_ID: &str = "correlation-id";

/// The category's number on the wire, and the gRPC code that stands for it. This is the one table.
fn on_the_wire(error: &Error) -> (v1::Category, Code) {
    match error.category() {
        Category::Incorrect => (v1::Category::Incorrect, Code::InvalidArgument),
        Category::Conflict => (v1::Category::Conflict, Code::Aborted),
        Category::NotFound => (v1::Category::NotFound, Code::NotFound),
        Category::Forbidden => (v1::Category::Forbidden, Code::PermissionDenied),
        Category::Unavailable => (v1::Category::Unavailable, Code::Unavailable),
        Category::Busy => (v1::Category::Busy, Code::ResourceExhausted),
        Category::Interrupted => (
            v1::Category::Interrupted,
            match error.code() {
                "db.error/deadline-exceeded" => Code::DeadlineExceeded,
                "db.error/cancelled" => Code::Cancelled,
                _ => Code::OutOfRange,
            },
        ),
        Category::Unknown => (v1::Category::Unknown, Code::Unknown),
        Category::Fenced => (v1::Category::Fenced, Code::FailedPrecondition),
        Category::Corrupt => (v1::Category::Corrupt, Code::DataLoss),
        Category::Fault => (v1::Category::Fault, Code::Internal),
        Category::Unsupported => (v1::Category::Unsupported, Code::Unimplemented),
    }
}

fn category(wire: v1::Category) -> Category {
    match wire {
        v1::Category::Incorrect => Category::Incorrect,
        v1::Category::Conflict => Category::Conflict,
        v1::Category::NotFound => Category::NotFound,
        v1::Category::Forbidden => Category::Forbidden,
        v1::Category::Unavailable => Category::Unavailable,
        v1::Category::Busy => Category::Busy,
        v1::Category::Interrupted => Category::Interrupted,
        v1::Category::Unknown => Category::Unknown,
        v1::Category::Fenced => Category::Fenced,
        v1::Category::Corrupt => Category::Corrupt,
        v1::Category::Unsupported => Category::Unsupported,
        // A category of a later version: at least not one that promises that nothing was done.
        v1::Category::Fault | v1::Category::Unspecified => Category::Fault,
    }
}

/// Clients of other languages take 8 KiB of trailers, in base 64 and percent encoding; these bounds stay below.
const STATUS_MESSAGE_BYTES_MAX: usize = 512;
const DETAIL_MESSAGE_BYTES_MAX: usize = 2048;
const DETAILS_EDN_BYTES_MAX: usize = 1536;

/// The status that tells a caller of this error.
pub fn status(error: &Error) -> Status {
    let (category, code) = on_the_wire(error);
    let details = error.details().iter().filter(|(key, _)| key != CORRELATION_ID);
    let details: Vec<(Edn, Edn)> = details.map(|(key, value)| (Edn::keyword(key), value.clone())).collect();
    let details_edn = if details.is_empty() { String::new() } else { Edn::Map(details).to_string() };
    let detail = v1::ErrorDetail {
        category: category as i32,
        code: error.code().to_owned(),
        message: cut(error.message(), DETAIL_MESSAGE_BYTES_MAX),
        details_edn: if details_edn.len() > DETAILS_EDN_BYTES_MAX { String::new() } else { details_edn },
        retry_after_ms: retry_after(error).map_or(0, |wait| wait.as_millis() as u64),
        correlation_id: correlation_id(error).unwrap_or_default().to_owned(),
    };
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(ERROR_DETAIL_KEY, MetadataValue::from_bytes(&detail.encode_to_vec()));
    Status::with_metadata(code, cut(error.message(), STATUS_MESSAGE_BYTES_MAX), metadata)
}

/// Writes a call's correlation id into the metadata that tell of its error, and gives the error's code.
pub fn correlate(metadata: &mut MetadataMap, id: &str) -> Option<String> {
    let bytes = metadata.get_bin(ERROR_DETAIL_KEY)?.to_bytes().ok()?;
    let mut detail = v1::ErrorDetail::decode(bytes).ok()?;
    id.clone_into(&mut detail.correlation_id);
    metadata.insert_bin(ERROR_DETAIL_KEY, MetadataValue::from_bytes(&detail.encode_to_vec()));
    Some(detail.code)
}

/// Turns an error into its status at the edge of a service.
pub trait OrStatus<T> {
    fn or_status(self) -> Result<T, Status>;
}

impl<T> OrStatus<T> for db::Result<T> {
    fn or_status(self) -> Result<T, Status> {
        self.map_err(|error| status(&error))
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}… (cut: {} bytes)", &text[..end], text.len())
}

/// The error that a status tells of. One without our detail comes from a gRPC library or from something between
/// (no connection, an oversized message, a method that is not there) and is told by its code.
pub fn error(status: &Status) -> Error {
    if let Some(detail) = detail(status) {
        let category = category(detail.category());
        let mut error = Error::new(category, detail.code, detail.message);
        if let Ok(Edn::Map(entries)) = db::edn::read(&detail.details_edn) {
            for (key, value) in entries {
                if let Edn::Keyword(key) = key {
                    error = error.with(key.as_str().to_owned(), value);
                }
            }
        }
        if !detail.correlation_id.is_empty() {
            error = error.with(CORRELATION_ID, Edn::string(detail.correlation_id));
        }
        return error;
    }
    if let Some(why) = no_connection(status) {
        return Error::new(Category::Unavailable, "db.error/unavailable", format!("no connection: {why}"));
    }
    let message = if status.message().is_empty() { status.code().description() } else { status.message() };
    match status.code() {
        Code::InvalidArgument => Error::incorrect("db.error/grpc", message),
        Code::OutOfRange => Error::incorrect("db.error/message-too-large", message),
        Code::NotFound => Error::not_found("db.error/grpc", message),
        Code::PermissionDenied | Code::Unauthenticated => Error::new(Category::Forbidden, "db.error/grpc", message),
        Code::Unavailable => Error::new(Category::Unavailable, "db.error/unavailable", message),
        Code::ResourceExhausted => Error::new(Category::Busy, "db.error/grpc", message),
        Code::DeadlineExceeded => Error::interrupted("db.error/deadline-exceeded", message),
        Code::Cancelled => Error::interrupted("db.error/cancelled", message),
        Code::Unimplemented => Error::unsupported("db.error/grpc", message),
        Code::DataLoss => Error::corrupt("db.error/grpc", message),
        _ => Error::new(Category::Unavailable, "db.error/grpc", message),
    }
}

/// What a failed `Transact` means. A status without our detail says nothing about whether the other side had the
/// request already, so that the outcome is unknown unless the code cannot come from a request that was served.
pub fn transact_error(status: &Status) -> Error {
    let error = error(status);
    let served = !matches!(
        status.code(),
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated
    );
    if detail(status).is_none() && served && no_connection(status).is_none() {
        let message = format!("the transaction may have been committed, its answer is lost: {}", error.message());
        return Error::new(Category::Unknown, "db.error/outcome-unknown", message);
    }
    error
}

/// Whether there was no connection to send the request over: nobody has heard of it.
pub fn was_never_sent(status: &Status) -> bool {
    no_connection(status).is_some()
}

/// Whether a status is the word of one of our own services.
pub fn has_detail(status: &Status) -> bool {
    detail(status).is_some()
}

/// Why there was no connection to send a request over, if that is what the status tells: then nothing was sent.
fn no_connection(status: &Status) -> Option<String> {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if let Some(connecting) = error.downcast_ref::<ConnectError>() {
            let mut cause: &dyn std::error::Error = connecting;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            return Some(cause.to_string());
        }
        source = error.source();
    }
    None
}

fn detail(status: &Status) -> Option<v1::ErrorDetail> {
    let bytes: Bytes = status.metadata().get_bin(ERROR_DETAIL_KEY)?.to_bytes().ok()?;
    v1::ErrorDetail::decode(bytes).ok()
}

/// How long to wait before trying again, if the error says so.
pub fn retry_after(error: &Error) -> Option<Duration> {
    error.details().iter().find(|(key, _)| key == RETRY_AFTER_MS).and_then(|(_, value)| match value {
        Edn::Long(ms) => u64::try_from(*ms).ok().map(Duration::from_millis),
        _ => None,
    })
}

/// The id under which the call that failed is in the servers' logs, if the error says so.
pub fn correlation_id(error: &Error) -> Option<&str> {
    error.details().iter().find(|(key, _)| key == CORRELATION_ID).and_then(|(_, value)| match value {
        Edn::String(id) => Some(&**id),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_comes_back_with_code_message_and_details() {
        for category in Category::ALL {
            let sent = Error::new(category, "db.error/some-code", "it was: so")
                .with("attribute", Edn::keyword("country/name"))
                .with(RETRY_AFTER_MS, 250);
            let status = status(&sent);
            let received = error(&status);
            assert_eq!(received.category(), category);
            assert_eq!(received.code(), "db.error/some-code");
            assert_eq!(received.message(), "it was: so");
            assert_eq!(received.details(), sent.details());
            assert_eq!(retry_after(&received), Some(Duration::from_millis(250)));
            assert_eq!(detail(&status).unwrap().retry_after_ms, 250);
        }
    }

    #[test]
    fn an_error_tells_under_which_id_its_call_is_in_the_logs() {
        let sent = Error::incorrect("db.error/some-code", "it was so").with("attribute", Edn::keyword("country/name"));
        let sent = status(&sent);
        assert_eq!(correlation_id(&error(&sent)), None);
        let mut metadata = sent.metadata().clone();
        assert_eq!(correlate(&mut metadata, "call-1").as_deref(), Some("db.error/some-code"));
        let received = error(&Status::with_metadata(sent.code(), sent.message(), metadata));
        assert_eq!(correlation_id(&received), Some("call-1"));
        // Forwarded by another server, it is told once.
        let received = error(&status(&received));
        assert_eq!(received.details().len(), 2, "{:?}", received.details());
        assert_eq!(correlation_id(&received), Some("call-1"));
        assert_eq!(correlate(&mut MetadataMap::new(), "call-1"), None);
    }

    #[test]
    fn lesson_19_a_very_long_message_is_cut_so_that_the_trailers_stay_small() {
        let sent =
            Error::incorrect("db.error/long", "é".repeat(1 << 20)).with("form", Edn::string("x".repeat(1 << 20)));
        let status = status(&sent);
        assert!(status.message().len() < 600);
        let received = error(&status);
        assert!(received.message().ends_with("(cut: 2097152 bytes)"), "{}", received.message());
        assert!(received.details().is_empty());
        assert!(status.metadata().get_bin(ERROR_DETAIL_KEY).unwrap().as_encoded_bytes().len() < 6000);
    }

    #[test]
    fn a_transaction_whose_connection_broke_has_an_unknown_outcome() {
        let broken = Status::unavailable("connection reset");
        assert_eq!(error(&broken).category(), Category::Unavailable);
        assert_eq!(transact_error(&broken).category(), Category::Unknown);
        // The server's own word stands.
        let refused = status(&Error::new(Category::Unavailable, "db.error/no-transactor", "no transactor"));
        assert_eq!(transact_error(&refused).category(), Category::Unavailable);
    }

    #[test]
    fn a_transaction_that_was_never_sent_is_known_not_to_be_committed() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = transact_error(&Status::from_error(Box::new(ConnectError(Box::new(refused)))));
        assert_eq!(error.category(), Category::Unavailable);
        assert_eq!(error.message(), "no connection: connection refused");
    }
}
