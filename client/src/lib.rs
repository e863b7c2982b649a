//! A client of peers.
//!
//! ```no_run
//! # async fn example() -> db::Result<()> {
//! use diachron_client::{Client, Entity, TxData, View};
//!
//! let client = Client::connect("http://127.0.0.1:4335").await?.anonymous();
//! client.create_database("world").await?;
//! client.transact("world", r#"[{:db/ident :country/name, :db/valueType :db.type/string,
//!                              :db/cardinality :db.cardinality/one}]"#).await?;
//! let peru = TxData::new().entity(Entity::tempid("peru"), |peru| peru.set("country/name", "Peru"));
//! let committed = client.transact("world", peru).await?;
//!
//! let names: Vec<(String,)> = client
//!     .query("[:find ?name :where [_ :country/name ?name]]")
//!     .database("$", View::of("world").as_of_t(committed.t))
//!     .rows_as()
//!     .await?;
//! assert_eq!(names, [("Peru".to_owned(),)]);
//! # Ok(())
//! # }
//! ```
//!
//! **Beside queries and pulls** there are [`Client::datoms`] and [`Client::index_range`], facts straight from an index;
//! [`Client::tx_range`], the transactions of the past; [`Client::with`], what a transaction would do;
//! [`Client::tx_reports`], every transaction as it comes.
//!
//! **Several peers.** [`Client::connect`] takes one address or several; the first that says it is ready is asked, and
//! as long as it answers, always the same one. When it does not, the next one is, and never knows less than what the
//! client has seen: bases do not go back.
//!
//! **Deadlines.** Every call has one, told to the server too, all tries included: [`Client::with_timeout`]. Reports of
//! transactions go on without one, and it says how long they may look for a peer.
//!
//! **Tries.** Reads are made again, here or elsewhere, while a peer is unavailable or busy ([`Retry`]). A transaction
//! is sent again only when the server said that nothing was done, or when it was never sent; an error of category
//! `unknown` may mean that it was committed, and only the caller can tell what to do then.
//!
//! **Logs.** [`correlated`] makes calls under an id of the caller's, which all servers that they touch have in their
//! logs; [`correlation_id`] tells it of an error.
//!
//! **States.** What cannot be asked yet or any more does not compile:
//!
//! ```compile_fail,E0599
//! # async fn example() -> db::Result<()> {
//! let client = diachron_client::Client::connect("http://127.0.0.1:4335").await?;
//! client.databases().await?; // nobody said who asks: `.anonymous()` is missing
//! # Ok(())
//! # }
//! ```
//! ```compile_fail,E0382
//! # async fn example(client: diachron_client::Client) -> db::Result<()> {
//! client.close();
//! client.databases().await?; // it is closed
//! # Ok(())
//! # }
//! ```

mod attempts;
mod client;
mod correlation;
mod datoms;
mod incoming;
mod log;
mod peers;
mod query;
mod reports;
mod session;
mod speculate;
mod transaction;
mod tx_data;
mod values;
mod view;

pub use attempts::Retry;
pub use client::{Client, Database, Pulled};
pub use correlation::correlated;
pub use datoms::{Datoms, DatomsCall, IndexCall, IndexRangeCall, ReadHead};
pub use log::Log;
pub use peers::Peers;
pub use query::{Answer, Answered, Explained, Head, QueryCall, Rows, Shape};
pub use reports::TxReports;
pub use session::{Open, Session, Unauthenticated};
pub use speculate::Speculated;
pub use transaction::{Committed, Fact, Logged};
pub use tx_data::{Entity, Facts, ToTxData, TxData};
pub use values::{FromItem, FromRow, ToEdn};
pub use view::{View, moment};

/// The id under which the call that failed is in the servers' logs, if the error says so.
pub use proto::correlation_id;

use db::{Error, Result};
use proto::v1;
use std::time::Duration;

/// Where a peer listens unless told otherwise.
pub const DEFAULT_PEER: &str = "http://127.0.0.1:4335";

/// How long a call may take unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// What a request may have beside its large text.
const MESSAGE_OVERHEAD_BYTES: usize = 4096;

fn too_large(what: &str, bytes: usize) -> Error {
    let message = format!(
        "the {what} has {bytes} bytes; one message takes {} at most: split it",
        proto::MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD_BYTES
    );
    Error::incorrect("db.error/message-too-large", message)
}

fn database(info: Option<v1::DatabaseInfo>) -> Result<Database> {
    let info = info.ok_or_else(|| malformed("a database without a name"))?;
    let id = info.id[..].try_into().map_err(|_| malformed("a database's id has 16 bytes"))?;
    Ok(Database { name: info.name, id })
}

fn malformed(what: &str) -> Error {
    Error::fault(format!("the peer's answer is malformed: {what}"))
}
