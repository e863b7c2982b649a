//! The id under which a call is in the logs of every process it touches.
//!
//! A client may send one in the metadata entry [`KEY`]; the first process that sees a call without a usable one makes
//! it. It is known for as long as the call is served ([`current`]), goes along with what is asked of other processes
//! meanwhile ([`attach`]), and comes back with the answer.

use crate::Entropy;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::Request;
use tonic::codegen::http::HeaderMap;
use tracing::Instrument;

/// The metadata entry of requests and answers.
pub const KEY: &str = "diachron-correlation-id";

const BYTES_MAX: usize = 64;

/// A call's id: 1 to 64 of letters, digits and `-_.:/+=@`, so that it stands in a log and in a URL as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(Arc<str>);

/// Makes ids: a random part for the process, a number for the call.
pub struct Ids {
    process: String,
    next: AtomicU64,
}

tokio::task_local! {
    static CURRENT: Id;
}

impl Id {
    /// None for a text that is not shown to operators as it is.
    pub fn new(text: &str) -> Option<Id> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&b);
        ((1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)).then(|| Id(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ids {
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut process = String::new();
        for byte in &entropy.sixteen()[..8] {
            // A String takes all that is written.
            let _ = write!(process, "{byte:02x}");
        }
        Ids { process, next: AtomicU64::new(1) }
    }

    /// The id that a request came with, or one of ours.
    pub fn of(&self, headers: &HeaderMap) -> Id {
        let given = headers.get(KEY).and_then(|value| Id::new(value.to_str().ok()?));
        given.unwrap_or_else(|| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            Id(format!("{}-{number}", self.process).into())
        })
    }
}

/// Serves a call: what runs in it knows its id.
pub async fn serve<T>(id: Id, call: impl Future<Output = T>) -> T {
    CURRENT.scope(id, call).await
}

/// The id of the call that is being served; None outside of one.
pub fn current() -> Option<Id> {
    CURRENT.try_with(Id::clone).ok()
}

/// Lets a request to another process carry the id of the call that is being served.
pub fn attach<T>(mut request: Request<T>) -> Request<T> {
    if let Some(value) = current().and_then(|id| id.as_str().parse().ok()) {
        request.metadata_mut().insert(KEY, value);
    }
    request
}

/// A task that belongs to the call being served, to be spawned: it knows the call's id, and its events carry the
/// call's span.
pub fn carried<T>(task: impl Future<Output = T>) -> impl Future<Output = T> {
    let task = task.in_current_span();
    let id = current();
    async move {
        match id {
            Some(id) => serve(id, task).await,
            None => task.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn an_id_that_was_given_is_kept_and_one_that_cannot_be_shown_is_replaced() {
        let ids = Ids::new(&SeededEntropy::new(1));
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(KEY, text.parse().unwrap());
            ids.of(&headers)
        };
        assert_eq!(of("order-7:a/b").as_str(), "order-7:a/b");
        let longest = "x".repeat(64);
        assert_eq!(of(&longest).as_str(), longest);
        let made = [of(""), of("a b"), of("{\"a\":1}"), of(&"x".repeat(65)), ids.of(&HeaderMap::new())];
        let prefix = made[0].as_str().strip_suffix("-1").unwrap();
        assert_eq!(prefix.len(), 16);
        for (n, id) in made.iter().enumerate() {
            assert_eq!(id.as_str(), format!("{prefix}-{}", n + 1));
            assert!(Id::new(id.as_str()).is_some());
        }
    }

    #[tokio::test]
    async fn what_a_call_asks_of_others_and_what_it_spawns_carry_its_id() {
        assert_eq!(current(), None);
        assert!(attach(Request::new(())).metadata().get(KEY).is_none());
        let id = Id::new("call-1").unwrap();
        serve(id.clone(), async {
            assert_eq!(attach(Request::new(())).metadata().get(KEY).unwrap(), "call-1");
            assert_eq!(tokio::spawn(carried(async { current() })).await.unwrap(), Some(id.clone()));
        })
        .await;
    }
}
