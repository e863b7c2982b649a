//! Datoms straight from an index, in pieces.
//!
//! A piece is read by a job of the compute pool, and the next one only when the caller has taken the one before: a slow
//! caller holds no thread, and no more of the index than one piece is in memory for it.

use super::view::Viewed;
use super::{PeerService, deadline_exceeded};
use crate::pool::{Interruption, Pool};
use crate::tree;
use db::budget::{Budget, Limits};
use db::edn::Edn;
use db::{Category, Db, EntityId, Error, Item, Place, Result, Sort, Span, Walk};
use process::{Clock, Outgoing};
use proto::v1;
use proto::v1::component::Kind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A piece has this many datoms, or about this many bytes.
const DATOMS_PER_PIECE: usize = 1024;
const BYTES_PER_PIECE: usize = 256 << 10;
/// A piece for which the pool has no room is asked for again after this long, within the caller's deadline: its caller
/// was let in already.
const PAUSE: Duration = Duration::from_millis(50);

impl PeerService {
    pub(super) async fn read_datoms(
        &self,
        request: v1::DatomsRequest,
        timeout: Duration,
    ) -> Result<Outgoing<v1::DatomsResponse>> {
        let end = tokio::time::Instant::now() + timeout;
        let sort = sort(request.index)?;
        let viewed = self.view(&request.database.unwrap_or_default(), end).await?;
        let span = move |db: &Db| {
            let components = request.components.into_iter().map(form).collect::<Result<Vec<Edn>>>()?;
            let place = db.place(sort, &components)?;
            let mut span = match request.seek {
                true => Span::seek(sort, place, request.reverse),
                false => Span { reverse: request.reverse, ..Span::of(sort, place) },
            };
            span.after = after(db, request.after)?;
            Ok(span)
        };
        self.stream_datoms(viewed, span, request.limit, end).await
    }

    /// Reads what `span` says of the database, which it may look up things in.
    pub(super) async fn stream_datoms(
        &self,
        viewed: Viewed,
        span: impl FnOnce(&Db) -> Result<Span> + Send + 'static,
        limit: u64,
        end: tokio::time::Instant,
    ) -> Result<Outgoing<v1::DatomsResponse>> {
        let Viewed { db, info } = viewed;
        let head = v1::ReadHead { basis_t: db.basis_t(), database: Some(info) };
        let mut left = Left { count: 0, limit: if limit == 0 { u64::MAX } else { limit } };
        let turn = Turn { pool: self.pool.clone(), clock: self.clock.clone(), end };
        // The first piece together with the places: whatever is wrong with them fails the call itself.
        let (walk, piece) = turn
            .run(move |budget| {
                let mut walk = db.walk(span(&db)?);
                let piece = read(&mut walk, left.wanted(), budget)?;
                Ok((walk, piece))
            })
            .await?;
        let mut message = left.message(piece);
        message.head = Some(head);
        Ok(self.crew.stream(&tree::DATOMS_STREAM, move |sender, point| async move {
            let walk = Arc::new(Mutex::new(walk));
            loop {
                point.pass();
                let is_last = message.end.is_some();
                // Nobody reads any more.
                if sender.send(Ok(message)).await.is_err() || is_last {
                    return;
                }
                let piece = tokio::select! {
                    biased;
                    // What runs for the caller is cancelled.
                    () = sender.closed() => return,
                    piece = next(&turn, &walk, left.wanted()) => piece,
                };
                message = match piece {
                    Ok(piece) => left.message(piece),
                    Err(error) => {
                        // The caller may have gone away.
                        let _ = sender.send(Err(proto::status(&error))).await;
                        return;
                    }
                };
            }
        }))
    }
}

/// The next piece of a walk, once the pool has room.
async fn next(turn: &Turn, walk: &Arc<Mutex<Walk>>, wanted: usize) -> Result<Piece> {
    loop {
        let walk = walk.clone();
        // Locked by one job at a time, and by nothing else.
        let job = move |budget: &Budget<'_>| {
            read(&mut walk.lock().unwrap_or_else(|poisoned| poisoned.into_inner()), wanted, budget)
        };
        match turn.run(job).await {
            Err(error) if error.category() == Category::Busy => {
                if tokio::time::timeout_at(turn.end, tokio::time::sleep(PAUSE)).await.is_err() {
                    return Err(deadline_exceeded());
                }
            }
            piece => return piece,
        }
    }
}

/// Some datoms, ready to be sent.
struct Piece {
    datoms: Vec<v1::Datom>,
    is_last: bool,
}

fn read(walk: &mut Walk, wanted: usize, budget: &Budget<'_>) -> Result<Piece> {
    let db::Piece { datoms, is_last } = walk.take(wanted, BYTES_PER_PIECE, budget)?;
    let schema = walk.db().schema();
    Ok(Piece { datoms: datoms.iter().map(|datom| proto::datom(schema, datom)).collect(), is_last })
}

/// How many datoms were sent, and how many may be.
#[derive(Clone, Copy)]
struct Left {
    count: u64,
    limit: u64,
}

impl Left {
    /// How many to ask for: one more than may be sent, to see whether there is more.
    fn wanted(&self) -> usize {
        let left = (self.limit - self.count).saturating_add(1);
        usize::try_from(left).unwrap_or(usize::MAX).min(DATOMS_PER_PIECE)
    }

    fn message(&mut self, mut piece: Piece) -> v1::DatomsResponse {
        let left = self.limit - self.count;
        let more = piece.datoms.len() as u64 > left;
        if more {
            piece.datoms.truncate(left as usize);
        }
        self.count += piece.datoms.len() as u64;
        let end = (more || piece.is_last).then_some(v1::DatomsEnd { datom_count: self.count, more });
        v1::DatomsResponse { head: None, datoms: piece.datoms, end }
    }
}

/// Turns on the compute pool, within a deadline.
pub(super) struct Turn {
    pub pool: Pool,
    pub clock: Arc<dyn Clock>,
    pub end: tokio::time::Instant,
}

impl Turn {
    /// Runs a job, which is cancelled when this is dropped.
    pub async fn run<X: Send + 'static>(
        &self,
        job: impl FnOnce(&Budget<'_>) -> Result<X> + Send + 'static,
    ) -> Result<X> {
        let left = self.end.saturating_duration_since(tokio::time::Instant::now());
        let (interruption, _cancel) = Interruption::new(self.clock.clone(), left);
        let run = self.pool.run(move || {
            let budget = Budget::new(Limits { rows_max: u64::MAX, bytes_max: u64::MAX }, &interruption);
            budget.look()?;
            job(&budget)
        });
        tokio::time::timeout_at(self.end, run).await.unwrap_or_else(|_| Err(deadline_exceeded()))
    }
}

fn sort(index: i32) -> Result<Sort> {
    match v1::Index::try_from(index) {
        Ok(v1::Index::Eavt) => Ok(Sort::Eavt),
        Ok(v1::Index::Aevt) => Ok(Sort::Aevt),
        Ok(v1::Index::Avet) => Ok(Sort::Avet),
        Ok(v1::Index::Vaet) => Ok(Sort::Vaet),
        Ok(v1::Index::Unspecified) | Err(_) => {
            let message = format!("index {index} is none; give INDEX_EAVT, INDEX_AEVT, INDEX_AVET or INDEX_VAET");
            Err(Error::incorrect("db.error/invalid-index", message))
        }
    }
}

/// What a component says, as a form.
pub(super) fn form(component: v1::Component) -> Result<Edn> {
    match component.kind {
        Some(Kind::Edn(text)) => db::edn::read(&text),
        Some(Kind::Value(value)) => proto::form(value),
        None => {
            let message = "a component has none of its fields set: give EDN or a value";
            Err(Error::incorrect("db.error/invalid-components", message))
        }
    }
}

/// The place of the datom that an earlier answer ended with.
pub(super) fn after(db: &Db, datom: Option<v1::Datom>) -> Result<Option<Place>> {
    let Some(datom) = datom else { return Ok(None) };
    let invalid = |what: &str| {
        let message = format!("`after` is no datom of an earlier answer: {what}");
        Error::incorrect("db.error/invalid-components", message)
    };
    let Item::Value(v) = proto::item(datom.v.ok_or_else(|| invalid("it has no value"))?)? else {
        return Err(invalid("its value is none of a fact"));
    };
    let e = EntityId::from_long(datom.e).ok_or_else(|| invalid("its entity is negative"))?;
    let t = EntityId::from_long(datom.tx).and_then(EntityId::as_tx).ok_or_else(|| invalid("its tx is none"))?;
    let a = EntityId::from_long(datom.a).and_then(|a| db.schema().attr_of_entity(a));
    let a = a.ok_or_else(|| invalid("its attribute is not in this database"))?;
    Ok(Some(Place { e: Some(e), a: Some(a), v: Some(v), t: Some(t) }))
}
