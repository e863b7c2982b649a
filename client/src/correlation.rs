//! The id under which calls are in the servers' logs.

use db::{Error, Result};
use std::future::Future;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

const BYTES_MAX: usize = 64;

tokio::task_local! {
    static ID: MetadataValue<Ascii>;
}

/// Makes a call, or several, under an id of the caller's: 1 to 64 of letters, digits and `-_.:/+=@`.
///
/// Peer and transactor have it in all they log of those calls. A call without one gets one from the peer; after an
/// error [`correlation_id`](crate::correlation_id) tells it either way.
pub async fn correlated<T>(id: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b);
    let value = if (1..=BYTES_MAX).contains(&id.len()) && id.bytes().all(fits) { id.parse().ok() } else { None };
    let value = value.ok_or_else(|| {
        let message = format!("{id:?} is no correlation id: give 1 to {BYTES_MAX} of letters, digits and `-_.:/+=@`");
        Error::incorrect("db.error/invalid-correlation-id", message)
    })?;
    ID.scope(value, call).await
}

/// Lets a request carry the id of the call that it is made for.
pub(crate) fn attach<Q>(request: &mut Request<Q>) {
    if let Ok(id) = ID.try_with(Clone::clone) {
        request.metadata_mut().insert(proto::CORRELATION_KEY, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_carry_the_id_they_are_made_under_and_no_other() {
        let made = || {
            let mut request = Request::new(());
            attach(&mut request);
            request.metadata().get(proto::CORRELATION_KEY).map(|id| id.to_str().unwrap().to_owned())
        };
        assert_eq!(made(), None);
        assert_eq!(correlated("order-7", async { Ok(made()) }).await.unwrap().as_deref(), Some("order-7"));
        for id in ["", "a b", "é", &"x".repeat(65)] {
            let refused = correlated(id, async { Ok(()) }).await.unwrap_err();
            assert_eq!(refused.code(), "db.error/invalid-correlation-id", "{id:?}");
        }
        assert_eq!(made(), None);
    }
}
