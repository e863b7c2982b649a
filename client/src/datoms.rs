//! Facts straight from an index, in its order.

use crate::attempts::{Attempts, Kind};
use crate::incoming::{Incoming, cut_off};
use crate::{Client, Database, Fact, ToEdn, View, database, malformed, too_large};
use db::{Error, Result, Sort, T};
use prost::Message;
use proto::v1;
use proto::v1::peer_client::PeerClient;
use tonic::transport::Channel;

/// A read of one of the four indexes that is being put together.
///
/// Without components it reads the whole index.
///
/// ```no_run
/// # async fn example(client: diachron_client::Client) -> db::Result<()> {
/// use db::{Keyword, Sort};
/// use diachron_client::View;
///
/// // Peru's life expectancy as it was, and what was said of it since.
/// let mut facts = client
///     .datoms(View::of("world").history(), Sort::Eavt)
///     .component((Keyword::new("country/code"), "PE"))
///     .component(Keyword::new("country/life-expectancy"))
///     .read()
///     .await?;
/// println!("at t {}", facts.head().basis_t);
/// while let Some(fact) = facts.next().await? {
///     println!("{} {} {}", fact.v, fact.tx, fact.added);
/// }
/// # Ok(())
/// # }
/// ```
pub type DatomsCall<'a> = IndexCall<'a, v1::DatomsRequest>;

/// A read of one indexed attribute by its values that is being put together.
///
/// ```no_run
/// # async fn example(client: diachron_client::Client) -> db::Result<()> {
/// let largest = client
///     .index_range("world", "country/population")
///     .start(100_000_000)
///     .reverse()
///     .limit(10)
///     .fetch()
///     .await?;
/// assert!(largest.windows(2).all(|pair| pair[0].v >= pair[1].v));
/// # Ok(())
/// # }
/// ```
pub type IndexRangeCall<'a> = IndexCall<'a, v1::IndexRangeRequest>;

/// A read of an index, by the request that it will be.
#[derive(Clone, Debug)]
pub struct IndexCall<'a, R> {
    read: IndexRead<'a>,
    request: R,
}

/// The database that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadHead {
    pub database: Database,
    /// The newest transaction that the peer knew, whatever the view.
    pub basis_t: T,
}

/// Facts of an index as they come: a few thousand are in memory at a time.
///
/// When the peer goes away in the middle, the rest is read from another one or, later, from the same; the database
/// value stays the one of the head. Of a view up to an instant, or of one with transactions that nobody made, no peer
/// can tell the rest: there, it is an error.
pub struct Datoms<'a> {
    read: IndexRead<'a>,
    request: Request,
    attempts: Attempts<'a>,
    incoming: Incoming<v1::DatomsResponse>,
    head: ReadHead,
    waiting: std::vec::IntoIter<v1::Datom>,
    /// The last one of the newest message: where the rest begins.
    last: Option<v1::Datom>,
    /// How many have come, those that wait included.
    count: u64,
    end: Option<v1::DatomsEnd>,
}

/// What the reads of an index have in common.
#[derive(Clone, Debug)]
struct IndexRead<'a> {
    client: &'a Client,
    view: View,
    reverse: bool,
    limit: u64,
}

/// What is read, apart from what the reads have in common.
#[derive(Clone, Debug)]
pub enum Request {
    Datoms(v1::DatomsRequest),
    IndexRange(v1::IndexRangeRequest),
}

impl<'a> DatomsCall<'a> {
    pub(crate) fn new(client: &'a Client, view: View, sort: Sort) -> Self {
        let index = match sort {
            Sort::Eavt => v1::Index::Eavt,
            Sort::Aevt => v1::Index::Aevt,
            Sort::Avet => v1::Index::Avet,
            Sort::Vaet => v1::Index::Vaet,
        };
        let request = v1::DatomsRequest { index: index as i32, ..Default::default() };
        DatomsCall { read: IndexRead::new(client, view), request }
    }

    /// The next component in the index's order. An entity or attribute: its id, its ident as a
    /// [`Keyword`](db::Keyword), or a lookup ref as a pair. A value: as its attribute has it. A transaction: its t, its
    /// entity id or an instant.
    pub fn component(self, component: impl ToEdn) -> Self {
        self.component_text(component.to_edn().to_string())
    }

    /// As [`Self::component`], as EDN text, such as `:country/name` or `[:country/code "PE"]`.
    pub fn component_text(mut self, component: impl Into<String>) -> Self {
        self.request.components.push(text(component.into()));
        self
    }

    /// Not only the facts that begin with the components, but all from there to the end of the index; with
    /// [`Self::reverse`] from there back to its beginning.
    pub fn seek(mut self) -> Self {
        self.request.seek = true;
        self
    }
}

impl<'a> IndexRangeCall<'a> {
    pub(crate) fn new(client: &'a Client, view: View, attribute: &str) -> Self {
        let attribute = text(attribute_text(attribute));
        let request = v1::IndexRangeRequest { attribute: Some(attribute), ..Default::default() };
        IndexRangeCall { read: IndexRead::new(client, view), request }
    }

    /// The first value, itself included.
    pub fn start(self, value: impl ToEdn) -> Self {
        self.start_text(value.to_edn().to_string())
    }

    /// As [`Self::start`], as EDN text.
    pub fn start_text(mut self, value: impl Into<String>) -> Self {
        self.request.start = Some(text(value.into()));
        self
    }

    /// The first value beyond the range, itself excluded.
    pub fn end(self, value: impl ToEdn) -> Self {
        self.end_text(value.to_edn().to_string())
    }

    /// As [`Self::end`], as EDN text.
    pub fn end_text(mut self, value: impl Into<String>) -> Self {
        self.request.end = Some(text(value.into()));
        self
    }
}

impl<'a, R: Into<Request>> IndexCall<'a, R> {
    /// Against the index's order; the `start` of a range is its lower end all the same.
    pub fn reverse(mut self) -> Self {
        self.read.reverse = true;
        self
    }

    /// At most this many; 0: all.
    pub fn limit(mut self, limit: u64) -> Self {
        self.read.limit = limit;
        self
    }

    /// Sends it, and gives the facts as they come.
    pub async fn read(self) -> Result<Datoms<'a>> {
        self.read.begin(self.request.into()).await
    }

    /// Sends it, and waits for all facts.
    pub async fn fetch(self) -> Result<Vec<Fact>> {
        self.read().await?.collect().await
    }
}

impl From<v1::DatomsRequest> for Request {
    fn from(request: v1::DatomsRequest) -> Self {
        Request::Datoms(request)
    }
}

impl From<v1::IndexRangeRequest> for Request {
    fn from(request: v1::IndexRangeRequest) -> Self {
        Request::IndexRange(request)
    }
}

impl Datoms<'_> {
    pub fn head(&self) -> &ReadHead {
        &self.head
    }

    /// The next fact; None after the last one.
    pub async fn next(&mut self) -> Result<Option<Fact>> {
        loop {
            if let Some(datom) = self.waiting.next() {
                return Fact::from_wire(datom).map(Some);
            }
            if self.end.is_some() {
                return Ok(None);
            }
            match self.incoming.next().await.and_then(|message| message.ok_or_else(cut_off)) {
                Ok(message) => self.take(message),
                Err(error) => self.go_on(error).await?,
            }
        }
    }

    /// All facts that have not been read yet.
    pub async fn collect(mut self) -> Result<Vec<Fact>> {
        let mut facts = Vec::new();
        while let Some(fact) = self.next().await? {
            facts.push(fact);
        }
        Ok(facts)
    }

    /// Whether the limit left anything out; known after the last fact.
    pub fn more(&self) -> bool {
        self.end.is_some_and(|end| end.more)
    }

    fn take(&mut self, message: v1::DatomsResponse) {
        self.count += message.datoms.len() as u64;
        if let Some(last) = message.datoms.last() {
            self.last = Some(last.clone());
        }
        self.waiting = message.datoms.into_iter();
        self.end = message.end;
    }

    /// Asks for what is left after a message that did not come.
    async fn go_on(&mut self, error: Error) -> Result<()> {
        // All that were wanted have come; only the word whether there is more has not.
        if self.read.limit != 0 && self.count >= self.read.limit {
            self.end = Some(v1::DatomsEnd { datom_count: self.count, more: true });
            return Ok(());
        }
        let Some(view) = self.read.view.fixed_at(self.head.basis_t) else { return Err(error) };
        self.attempts.again(error).await?;
        let rest = IndexRead { view, limit: self.read.limit.saturating_sub(self.count), ..self.read.clone() };
        let (first, incoming) = rest.ask(&self.request, self.last.as_ref(), &mut self.attempts).await?;
        self.incoming = incoming;
        self.take(first);
        Ok(())
    }
}

impl<'a> IndexRead<'a> {
    fn new(client: &'a Client, view: View) -> Self {
        IndexRead { client, view, reverse: false, limit: 0 }
    }

    async fn begin(self, request: Request) -> Result<Datoms<'a>> {
        let mut attempts = self.client.attempts(Kind::Read);
        let (mut first, incoming) = self.ask(&request, None, &mut attempts).await?;
        let head = first.head.take().ok_or_else(|| malformed("facts without a head"))?;
        let head = ReadHead { database: database(head.database)?, basis_t: head.basis_t };
        self.client.flock().saw(attempts.peer().1, &head.database.name, &head.database.id, head.basis_t);
        let waiting = Vec::new().into_iter();
        let mut datoms =
            Datoms { read: self, request, attempts, incoming, head, waiting, last: None, count: 0, end: None };
        datoms.take(first);
        Ok(datoms)
    }

    /// Asks for what comes after a datom, or for all.
    async fn ask(
        &self,
        request: &Request,
        after: Option<&v1::Datom>,
        attempts: &mut Attempts<'_>,
    ) -> Result<(v1::DatomsResponse, Incoming<v1::DatomsResponse>)> {
        let view = |at| Some(self.view.clone().raised(self.client.flock().floor(at, &self.view)).into_wire());
        let (reverse, limit) = (self.reverse, self.limit);
        match request {
            Request::Datoms(request) => {
                let request = |at| {
                    let after = after.cloned();
                    v1::DatomsRequest { database: view(at), reverse, limit, after, ..request.clone() }
                };
                check_bytes(&request(attempts.peer().1))?;
                let send = |mut peer: PeerClient<Channel>, request| async move { peer.datoms(request).await };
                self.client.begin(attempts, request, send).await
            }
            Request::IndexRange(request) => {
                let request = |at| {
                    let after = after.cloned();
                    v1::IndexRangeRequest { database: view(at), reverse, limit, after, ..request.clone() }
                };
                check_bytes(&request(attempts.peer().1))?;
                let send = |mut peer: PeerClient<Channel>, request| async move { peer.index_range(request).await };
                self.client.begin(attempts, request, send).await
            }
        }
    }
}

fn check_bytes(request: &impl Message) -> Result<()> {
    match request.encoded_len() {
        bytes if bytes > proto::MESSAGE_BYTES_MAX => Err(too_large("read with its view", bytes)),
        _ => Ok(()),
    }
}

fn text(edn: String) -> v1::Component {
    v1::Component { kind: Some(v1::component::Kind::Edn(edn)) }
}

/// An attribute's ident, with or without its colon, or its id.
fn attribute_text(attribute: &str) -> String {
    let is_whole = attribute.starts_with(':') || attribute.bytes().all(|byte| byte.is_ascii_digit());
    if is_whole { attribute.to_owned() } else { format!(":{attribute}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_goes_by_ident_with_or_without_its_colon_or_by_id() {
        for (given, sent) in [("country/name", ":country/name"), (":country/name", ":country/name"), ("17", "17")] {
            assert_eq!(attribute_text(given), sent);
        }
    }
}
