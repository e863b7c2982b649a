//! The databases of a process: opened together, found by name, one more created now and then.

use crate::catalogue::{Catalogue, Entry, Standing, check_name};
use crate::clock_guard::ClockGuard;
use crate::commit::{Database, Durable, Message, Rules, Writer};
use crate::errors::{STORAGE_FAILED, busy, fenced, from_storage, stopping};
use crate::follow::{Followers, QueueLimits};
use crate::garbage::{self, ASKS_MAX, Ask, Collector};
use crate::indexing::{Indexer, Indexing};
use crate::metrics::Metrics;
use crate::open::{self, Opened};
use crate::term_watch::Watch;
use crate::tree;
use arc_swap::ArcSwap;
use bytes::Bytes;
use cache::{Fetch, SegmentCache};
use db::index::Trees;
use db::index::segment::Meta;
use db::log::IndexBody;
use db::replay::Replay;
use db::{Category, Error, Result};
use process::mailbox::{Refused, Reply};
use process::{Clock, Crew, Entropy, Failpoint, Failure, Inbox, Mailbox, log, once};
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{DatabaseId, Head, Journal, SegmentKey, Segments};

/// Creations and deletions that may wait.
const CREATIONS_WAITING_MAX: usize = 64;

/// What the databases of a process share.
#[derive(Clone)]
pub struct World {
    pub journal: Arc<dyn Journal>,
    pub segments: Arc<dyn Segments>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub rules: Rules,
    /// Where this process serves, as `term` records tell.
    pub endpoint: String,
    /// Transactions of one database that may wait.
    pub queue_max: usize,
    pub follow_limits: QueueLimits,
    pub metrics: Arc<Metrics>,
    pub indexing: Arc<Indexing>,
    pub garbage: garbage::Settings,
    /// Segments of all databases.
    pub cache: Arc<SegmentCache>,
}

/// The databases that are open. Cheap to clone.
#[derive(Clone)]
pub struct Databases(Arc<ArcSwap<BTreeMap<String, Arc<Database>>>>);

/// The open databases and the actor that creates more and deletes some.
#[derive(Clone)]
pub struct Host {
    pub databases: Databases,
    creator: Mailbox<Creation>,
    pub collector: Mailbox<Ask>,
    pub collected: Arc<garbage::Counts>,
}

enum Creation {
    Create(String, Reply<Result<(DatabaseId, bool)>>),
    Delete(String, Reply<Result<DatabaseId>>),
    Stop,
}

struct Creator {
    world: World,
    clock_guard: ClockGuard,
    catalogue: Catalogue,
    databases: Databases,
    crew: Crew,
}

impl World {
    /// Segments, from the store.
    fn fetch(&self) -> Arc<dyn Fetch> {
        Arc::new(Stored(self.segments.clone()))
    }

    /// What an `index` record names.
    pub fn trees(&self, lineage: DatabaseId, body: &IndexBody) -> Result<(Meta, Arc<Trees>)> {
        let (lineage, fetch) = (db::log::DatabaseId(lineage.0), self.fetch());
        let meta = self.cache.meta(lineage, body, &*fetch)?;
        let trees = self.cache.trees_of(lineage, body, &meta, fetch)?;
        Ok((meta, trees))
    }
}

/// The store, as the cache asks it.
pub struct Stored(pub Arc<dyn Segments>);

impl Fetch for Stored {
    fn fetch(&self, key: &cache::SegmentKey) -> Result<Option<Bytes>> {
        let id = &key.id;
        let key = SegmentKey {
            lineage: DatabaseId(key.lineage.0),
            database: DatabaseId(id.database.0),
            term: id.term,
            job: key.job(),
            hash: id.hash,
        };
        Ok(self.0.get(&key).map_err(from_storage)?.map(Bytes::from))
    }
}

impl Host {
    /// Opens every database of the store: verifies and replays its log and begins a term. Reads the disk: a stage's
    /// work.
    pub async fn open(world: World, crew: &Crew) -> Result<Host> {
        let creator = Arc::new(Creator {
            clock_guard: ClockGuard::new(&*world.clock),
            catalogue: Catalogue::new(world.journal.clone()),
            databases: Databases(Arc::default()),
            crew: crew.clone(),
            world,
        });
        creator.open_all().await?;
        let databases = creator.databases.clone();
        let watch = Watch {
            databases: databases.clone(),
            journal: creator.world.journal.clone(),
            executor: crew.executor(),
            entropy: creator.world.entropy.clone(),
            shutdown: crew.shutdown().clone(),
        };
        crew.start(&tree::TERM_WATCH, "", move |point| watch.clone().run(point))
            .map_err(|failure| Error::fault(failure.0))?;
        let indexer = Indexer {
            indexing: creator.world.indexing.clone(),
            databases: databases.clone(),
            journal: creator.world.journal.clone(),
            segments: creator.world.segments.clone(),
            cache: creator.world.cache.clone(),
            fetch: creator.world.fetch(),
            clock: creator.world.clock.clone(),
            metrics: creator.world.metrics.clone(),
            shutdown: crew.shutdown().clone(),
        };
        crew.start(&tree::INDEXER, "", move |point| indexer.clone().run(point))
            .map_err(|failure| Error::fault(failure.0))?;
        let (collector, asks) = Mailbox::new(ASKS_MAX);
        let collected = Arc::<garbage::Counts>::default();
        let garbage = Collector {
            settings: creator.world.garbage,
            world: creator.world.clone(),
            databases: databases.clone(),
            counts: collected.clone(),
            clock_guard: creator.clock_guard,
            shutdown: crew.shutdown().clone(),
            inbox: Inbox::new(asks),
        };
        crew.start(&tree::COLLECTOR, "", move |point| garbage.clone().run(point))
            .map_err(|failure| Error::fault(failure.0))?;
        let (mailbox, receiver) = Mailbox::new(CREATIONS_WAITING_MAX);
        let inbox = Inbox::new(receiver);
        let mut again = false;
        let run = move |point| creator.clone().run(inbox.clone(), point, std::mem::replace(&mut again, true));
        crew.start(&tree::CREATOR, "", run).map_err(|failure| Error::fault(failure.0))?;
        Ok(Host { databases, creator: mailbox, collector, collected })
    }

    /// The database of a name, created if there is none; true if it was.
    pub async fn create(&self, name: String) -> Result<(DatabaseId, bool)> {
        let answer = self.creator.ask(|reply| Creation::Create(name, reply)).map_err(|refused| match refused {
            Refused::Full => busy("many databases are being created already", 500),
            Refused::Gone => stopping(),
        })?;
        answer.await.unwrap_or_else(|| {
            let message = "the transactor failed before it answered; the database may be created, its name tells";
            Err(Error::new(Category::Unknown, "db.error/outcome-unknown", message))
        })
    }

    /// Creations that wait, and how many may.
    pub fn creations(&self) -> (usize, usize) {
        (self.creator.len(), self.creator.capacity_max())
    }

    /// Deletes the database of a name. What it had is out of reach from then on, and the collector's.
    pub async fn delete(&self, name: String) -> Result<DatabaseId> {
        let answer = self.creator.ask(|reply| Creation::Delete(name, reply)).map_err(|refused| match refused {
            Refused::Full => busy("many databases are being created or deleted already", 500),
            Refused::Gone => stopping(),
        })?;
        answer.await.unwrap_or_else(|| {
            let message = "the transactor failed before it answered; the database may be deleted, its name tells";
            Err(Error::new(Category::Unknown, "db.error/outcome-unknown", message))
        })
    }

    /// Lets every writer finish what waits, and ends it.
    pub async fn stop(&self) {
        self.creator.tell_when_there_is_room(Creation::Stop).await;
        for database in self.databases.all() {
            database.mailbox.tell_when_there_is_room(Message::Stop).await;
        }
    }
}

impl Databases {
    pub fn all(&self) -> Vec<Arc<Database>> {
        self.0.load().values().cloned().collect()
    }

    pub fn by_id(&self, id: DatabaseId) -> Option<Arc<Database>> {
        self.0.load().values().find(|database| database.id == id).cloned()
    }

    pub fn get(&self, name: &str) -> Result<Arc<Database>> {
        check_name(name)?;
        self.0.load().get(name).cloned().ok_or_else(|| unknown_database(name))
    }

    fn remove(&self, database: &Database) {
        self.0.rcu(|databases| {
            let mut databases = BTreeMap::clone(databases);
            databases.remove(&database.name);
            databases
        });
    }

    fn add(&self, database: Arc<Database>) {
        self.0.rcu(|databases| {
            let mut databases = BTreeMap::clone(databases);
            databases.insert(database.name.clone(), database.clone());
            databases
        });
    }
}

/// Whether an error says that this process must not write any more. Another transactor's hand on one database says
/// nothing of the others.
fn is_the_end(error: &Error) -> bool {
    error.code() == STORAGE_FAILED
}

pub fn unknown_database(name: &str) -> Error {
    let message = format!("there is no database {name:?}; create it first, or list those there are");
    Error::not_found("db.error/unknown-database", message).with("database", name)
}

impl Creator {
    /// Creates what is asked for until it is told to stop. One that is started `again` finishes or clears first what
    /// the one before it left.
    async fn run(self: Arc<Self>, inbox: Inbox<Creation>, point: Failpoint, again: bool) -> process::Result<()> {
        if again {
            self.open_all().await.map_err(Failure::new)?;
        }
        let mut creations = inbox.open().await;
        while let Some(creation) = creations.recv().await {
            point.pass();
            // A caller who has gone away finds the database by its name, or finds none.
            let end = match creation {
                Creation::Create(name, reply) => {
                    let created = self.create(&name).await;
                    let end = created.as_ref().err().filter(|error| is_the_end(error)).map(Failure::new);
                    let _ = reply.send(created);
                    end
                }
                Creation::Delete(name, reply) => {
                    let deleted = self.delete(&name).await;
                    let failed = |error: &&Error| error.code() == STORAGE_FAILED;
                    let end = deleted.as_ref().err().filter(failed).map(Failure::new);
                    let _ = reply.send(deleted);
                    end
                }
                Creation::Stop => return Ok(()),
            };
            if let Some(failure) = end {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Opens every database of the store that is not open, and finishes what was cut off.
    async fn open_all(&self) -> Result<()> {
        for entry in self.catalogue.entries()? {
            if entry.standing == Standing::Deleted || self.databases.by_id(entry.id).is_none() {
                self.open(entry).await?;
            }
        }
        Ok(())
    }

    async fn open(&self, entry: Entry) -> Result<()> {
        let entry = match entry.standing {
            Standing::Live => entry,
            // Its bytes are the collector's.
            Standing::Deleted => return self.bury(&entry).await,
            Standing::Creating => match self.settle(entry)? {
                Some(entry) => entry,
                None => return Ok(()),
            },
        };
        let within = |error: Error| error.within(format_args!("database {:?}", entry.name));
        let started = self.world.clock.since_boot();
        let trees = |lineage: DatabaseId, body: &IndexBody| self.world.trees(lineage, body);
        let (writer, World { journal, segments, .. }) = (self.writer(), &self.world);
        let opened = open::take_over(&**journal, &**segments, &trees, entry.id, &writer).await.map_err(within)?;
        let Opened { replay, head, index } = opened;
        let entry = self.catalogue.hold(entry.id).map_err(within)?;
        if entry.standing == Standing::Deleted {
            // By whoever had it before.
            return self.bury(&entry).await;
        }
        // Looked at now that nobody else deletes it.
        if self.catalogue.find(&entry.name)? != Some(entry.id) {
            let message = format!("database {} is live under a name that is not its own", entry.id);
            return Err(within(Error::corrupt("db.error/storage-corrupt", message)));
        }
        let took = self.world.clock.since_boot().saturating_sub(started);
        log::info!(
            database = entry.name,
            t = head.t,
            index_t = replay.db().index_t(),
            term = head.term,
            records = head.seq,
            took_ms = took.as_millis() as u64,
            "a database was verified and is open"
        );
        self.start(entry, replay, head, index)
    }

    /// Finishes a creation that was cut off if its log has begun, clears it otherwise.
    fn settle(&self, entry: Entry) -> Result<Option<Entry>> {
        let begun = self.world.journal.head(entry.id).map_err(from_storage)?.is_some();
        if begun && let Some(entry) = self.catalogue.finish(entry.clone())? {
            log::warn!(database = entry.name, "a creation had been cut off and is finished now");
            return Ok(Some(entry));
        }
        log::warn!(database = entry.name, "a creation had been cut off and is cleared now");
        self.catalogue.clear(entry)?;
        Ok(None)
    }

    async fn create(&self, name: &str) -> Result<(DatabaseId, bool)> {
        check_name(name)?;
        if let Ok(there) = self.databases.get(name) {
            return Ok((there.id, false));
        }
        let id = DatabaseId(self.world.entropy.sixteen());
        let entry = self.catalogue.begin(id, name)?;
        let (replay, head) = open::create(&*self.world.journal, id, name, &self.writer()).await?;
        let entry = self
            .catalogue
            .finish(entry)?
            .ok_or_else(|| fenced(format!("the name {name:?} was taken by another transactor")))?;
        log::info!(database = name, %id, "a database was created");
        self.start(entry, replay, head, None)?;
        Ok((id, true))
    }

    async fn delete(&self, name: &str) -> Result<DatabaseId> {
        let database = self.databases.get(name)?;
        let id = database.id;
        let entry = self.catalogue.entry(id)?.ok_or_else(|| {
            Error::corrupt("db.error/storage-corrupt", format!("the catalogue has lost database {name:?} ({id})"))
        })?;
        // Whoever lost the database to another transactor must not take it away from that one. Looked at after the
        // entry was read, so that a takeover after this look is found out when the pod is put.
        let head = self.world.journal.head(id).map_err(from_storage)?;
        if head.map(|head| head.term) != Some(database.durable().head.term) {
            let message = format!("database {name:?} is another transactor's by now; ask that one to delete it");
            return Err(fenced(message));
        }
        let entry = self.catalogue.condemn(entry)?;
        log::info!(database = name, %id, "a database was deleted");
        match self.bury(&entry).await {
            Err(error) if error.code() != STORAGE_FAILED => {
                log::warn!(database = name, %error, "the name is freed when it is given anew, or at the next start");
                Ok(id)
            }
            buried => buried.map(|()| id),
        }
    }

    /// Gives up a database that was declared deleted, here and its name. Doing it again changes nothing.
    async fn bury(&self, entry: &Entry) -> Result<()> {
        if let Some(database) = self.databases.by_id(entry.id) {
            self.databases.remove(&database);
            database.delete();
            database.mailbox.tell_when_there_is_room(Message::Stop).await;
        }
        self.catalogue.free_name(entry)
    }

    fn start(&self, entry: Entry, replay: Replay, head: Head, index: Option<Arc<(u64, IndexBody)>>) -> Result<()> {
        let (mailbox, receiver) = Mailbox::new(self.world.queue_max);
        let followers = Followers::new(head.seq, self.world.follow_limits);
        let chain = replay.chain().clone();
        let durable = Durable { head, db: replay.db().clone(), chain, index: index.clone() };
        let database = Arc::new(Database::new(entry.id, entry.name, mailbox, followers, durable));
        let writer = Writer {
            journal: self.world.journal.clone(),
            segments: self.world.segments.clone(),
            clock: self.world.clock.clone(),
            clock_guard: self.clock_guard,
            entropy: self.world.entropy.clone(),
            rules: self.world.rules.clone(),
            database: database.clone(),
            metrics: self.world.metrics.clone(),
            chain: replay.chain().clone(),
            head,
            db: replay.db().clone(),
            index,
            indexing: self.world.indexing.clone(),
        };
        self.crew
            .start(&tree::WRITER, &database.name, once(move |point| writer.run(receiver, point)))
            .map_err(|Failure(message)| Error::fault(message))?;
        let pacing = database.clone();
        self.crew
            .start(&tree::FOLLOW_PACE, &database.name, move |point| pace(pacing.clone(), point))
            .map_err(|Failure(message)| Error::fault(message))?;
        self.databases.add(database.clone());
        self.world.indexing.noted(&database.durable().db);
        Ok(())
    }

    fn writer(&self) -> open::Writer<'_> {
        open::Writer { endpoint: &self.world.endpoint, now: self.world.clock.now(), entropy: &*self.world.entropy }
    }
}

/// Wakes a database's followers until it takes no more transactions, which they hear of by themselves.
async fn pace(database: Arc<Database>, point: Failpoint) -> process::Result<()> {
    tokio::select! {
        biased;
        _ = database.stops() => Ok(()),
        never = database.followers.ring_at_a_pace(point) => match never {},
    }
}

#[cfg(test)]
mod tests;
