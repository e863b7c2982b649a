//! The databases of a process: opened together, found by name, one more created now and then.

use crate::append::Step;
use crate::catalogue::{Catalogue, Entry, Standing, check_name};
use crate::clock_guard::ClockGuard;
use crate::commit::{Database, Durable, Message, Rules, Writer};
use crate::erasing::{self, Eraser};
use crate::errors::{STORAGE_FAILED, busy, copy, fenced, from_storage, stopping};
use crate::follow::{Followers, QueueLimits};
use crate::forking;
use crate::garbage::{self, ASKS_MAX, Ask, Collector};
use crate::indexing::{Indexer, Indexing, Job};
use crate::metrics::Metrics;
use crate::open::{self, Opened};
use crate::repair::{Rebuilt, Repair};
use crate::term_watch::Watch;
use crate::tree;
use arc_swap::ArcSwap;
use cache::{Fetch, Reader, SegmentCache};
use db::index::Trees;
use db::index::segment::Meta;
use db::log::{ForkBody, IndexBody};
use db::replay::Replay;
use db::{Category, Error, Result, T};
use process::mailbox::{Refused, Reply};
use process::{Clock, Crew, Entropy, Failpoint, Failure, Inbox, Mailbox, log, once};
use proto::v1;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use storage::{DatabaseId, Head, Journal, Segments};
use stores::log::LogReader;
use stores::past::Past;
use stores::trees::{self, Stored};
use stores::verification::Told;

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
    /// Held while a database's garbage is collected. A fork that was announced waits for that once, and is minded by
    /// every collection that begins later.
    pub collecting: Arc<Mutex<()>>,
}

/// The databases that are open. Cheap to clone.
#[derive(Clone, Default)]
pub struct Databases {
    open: Arc<ArcSwap<BTreeMap<String, Arc<Database>>>>,
    /// Those that could not be opened because their trees cannot be read, and why. Their logs can, maybe.
    damaged: Arc<ArcSwap<BTreeMap<String, Arc<Error>>>>,
}

/// The code of the error that says that a database is not open since its trees cannot be read.
pub const DAMAGED_TREES: &str = "db.error/trees-damaged";

/// The open databases and the actor that creates more and deletes some.
#[derive(Clone)]
pub struct Host {
    pub databases: Databases,
    creator: Mailbox<Creation>,
    pub collector: Mailbox<Ask>,
    pub eraser: Mailbox<erasing::Ask>,
    pub collected: Arc<garbage::Counts>,
}

enum Creation {
    Create(String, Reply<Result<(DatabaseId, bool)>>),
    Fork(Fork, Reply<Result<Forked>>),
    Restored(Box<(Entry, forking::Prepared)>, Reply<Result<()>>),
    Delete(String, Reply<Result<DatabaseId>>),
    /// Opens a database whose trees cannot be read, by its log.
    Rebuild(String, Arc<Told<'static>>, Reply<Result<Rebuilt>>),
    Stop,
}

/// A fork that is asked for.
pub struct Fork {
    /// The database that it leaves.
    pub name: String,
    pub new_name: String,
    /// The newest durable t, if none is given.
    pub as_of: Option<v1::TimePoint>,
}

/// A database that goes on from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    pub id: DatabaseId,
    /// Not there before.
    pub created: bool,
    /// The last t that it shares with its origin.
    pub t: T,
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
    pub fn fetch(&self) -> Arc<dyn Fetch> {
        Arc::new(Stored(self.segments.clone()))
    }

    /// What an `index` record names.
    pub fn trees(&self, reader: Reader, body: &IndexBody) -> Result<(Meta, Arc<Trees>)> {
        self.cache.erased_before(reader, body.floor);
        trees::named(&self.cache, self.fetch(), reader, body)
    }
}

impl Host {
    /// Opens every database of the store: verifies and replays its log and begins a term. Reads the disk: a stage's
    /// work.
    pub async fn open(world: World, crew: &Crew) -> Result<Host> {
        let creator = Arc::new(Creator {
            clock_guard: ClockGuard::new(&*world.clock),
            catalogue: Catalogue::new(world.journal.clone()),
            databases: Databases::default(),
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
        let (eraser, asks) = Mailbox::new(erasing::ASKS_MAX);
        let erasing = Eraser {
            world: creator.world.clone(),
            databases: databases.clone(),
            shutdown: crew.shutdown().clone(),
            inbox: Inbox::new(asks),
        };
        // One that fails has left what it was at.
        let mut is_settled = erasing::Eraser::is_settled(&creator.world)?;
        let run = move |point| erasing.clone().run(std::mem::replace(&mut is_settled, false), point);
        crew.start(&tree::ERASER, "", run).map_err(|failure| Error::fault(failure.0))?;
        let (mailbox, receiver) = Mailbox::new(CREATIONS_WAITING_MAX);
        let inbox = Inbox::new(receiver);
        let mut again = false;
        let run = move |point| creator.clone().run(inbox.clone(), point, std::mem::replace(&mut again, true));
        crew.start(&tree::CREATOR, "", run).map_err(|failure| Error::fault(failure.0))?;
        Ok(Host { databases, creator: mailbox, collector, eraser, collected })
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

    /// Makes a database that goes on from another one, from now or from an earlier t. One that is there already is found
    /// by its name, if it left the same database, and at the same t if one is given.
    pub async fn fork(&self, fork: Fork) -> Result<Forked> {
        let answer = self.creator.ask(|reply| Creation::Fork(fork, reply)).map_err(|refused| match refused {
            Refused::Full => busy("many databases are being created already", 500),
            Refused::Gone => stopping(),
        })?;
        answer.await.unwrap_or_else(|| {
            let message = "the transactor failed before it answered; the fork may be made, its name tells";
            Err(Error::new(Category::Unknown, "db.error/outcome-unknown", message))
        })
    }

    /// Begins the log of a database that was announced and is restored but for that, and opens it.
    pub async fn begin_restored(&self, entry: Entry, prepared: forking::Prepared) -> Result<()> {
        let restored = Box::new((entry, prepared));
        let answer =
            self.creator.ask(|reply| Creation::Restored(restored, reply)).map_err(|refused| match refused {
                Refused::Full => busy("many databases are being created already", 500),
                Refused::Gone => stopping(),
            })?;
        answer.await.unwrap_or_else(|| {
            let message = "the transactor failed before it answered; the database may be restored, its name tells";
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

    /// Opens a database whose trees cannot be read, on trees that are made of its log and that no record names yet.
    pub async fn rebuild(&self, name: String, told: Arc<Told<'static>>) -> Result<Rebuilt> {
        let answer =
            self.creator.ask(|reply| Creation::Rebuild(name, told, reply)).map_err(|refused| match refused {
                Refused::Full => busy("many databases are being created or deleted already", 500),
                Refused::Gone => stopping(),
            })?;
        answer.await.unwrap_or_else(|| Err(stopping()))
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
        self.open.load().values().cloned().collect()
    }

    pub fn by_id(&self, id: DatabaseId) -> Option<Arc<Database>> {
        self.open.load().values().find(|database| database.id == id).cloned()
    }

    pub fn get(&self, name: &str) -> Result<Arc<Database>> {
        check_name(name)?;
        self.open.load().get(name).cloned().ok_or_else(|| match self.damaged.load().get(name) {
            Some(error) => copy(error),
            None => unknown_database(name),
        })
    }

    /// Notes that a database cannot be opened, or (None) that it can again.
    fn note_damaged(&self, name: &str, error: Option<Error>) {
        let error = error.map(Arc::new);
        self.damaged.rcu(|damaged| {
            let mut damaged = BTreeMap::clone(damaged);
            match &error {
                Some(error) => drop(damaged.insert(name.to_owned(), error.clone())),
                None => drop(damaged.remove(name)),
            }
            damaged
        });
    }

    fn remove(&self, database: &Database) {
        self.open.rcu(|databases| {
            let mut databases = BTreeMap::clone(databases);
            databases.remove(&database.name);
            databases
        });
    }

    fn add(&self, database: Arc<Database>) {
        self.open.rcu(|databases| {
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
                Creation::Fork(fork, reply) => {
                    let forked = self.fork(&fork).await;
                    let end = forked.as_ref().err().filter(|error| is_the_end(error)).map(Failure::new);
                    let _ = reply.send(forked);
                    end
                }
                Creation::Restored(restored, reply) => {
                    let begun = self.begin_restored(*restored).await;
                    let end = begun.as_ref().err().filter(|error| is_the_end(error)).map(Failure::new);
                    let _ = reply.send(begun);
                    end
                }
                Creation::Delete(name, reply) => {
                    let deleted = self.delete(&name).await;
                    let failed = |error: &&Error| error.code() == STORAGE_FAILED;
                    let end = deleted.as_ref().err().filter(failed).map(Failure::new);
                    let _ = reply.send(deleted);
                    end
                }
                Creation::Rebuild(name, told, reply) => {
                    let rebuilt = self.rebuild(&name, &*told).await;
                    let end = rebuilt.as_ref().err().filter(|error| is_the_end(error)).map(Failure::new);
                    let _ = reply.send(rebuilt);
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
        let trees = |reader: Reader, body: &IndexBody| self.world.trees(reader, body);
        let (writer, World { journal, segments, .. }) = (self.writer(), &self.world);
        let opened = match open::take_over(&**journal, &**segments, &trees, entry.id, &writer).await {
            Err(error) if error.code() == DAMAGED_TREES => {
                // Of all others this says nothing.
                let error = error.within(format_args!("database {:?}", entry.name));
                log::error!(database = entry.name, %error, "a database is not open: its trees have to be repaired");
                self.databases.note_damaged(&entry.name, Some(error));
                return Ok(());
            }
            opened => opened.map_err(within)?,
        };
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

    /// Opens a database by its log alone.
    async fn rebuild(&self, name: &str, told: &Told<'_>) -> Result<Rebuilt> {
        let id = self.catalogue.find(name)?.ok_or_else(|| unknown_database(name))?;
        if self.databases.by_id(id).is_some() {
            return Err(Error::conflict(
                "db.error/already-open",
                format!("database {name:?} is open by now; ask again"),
            ));
        }
        let World { journal, segments, .. } = &self.world;
        let head = open::head_of(&**journal, id)?;
        let (header, body) = open::index_record(LogReader::new(&**journal, &**segments), id, head.index_seq)?;
        let names = (head.term + 1, head.seq + 1);
        let mut rebuilt = Repair { world: &self.world, id, told }.rebuild(head, names)?;
        let head = open::begin_term(&**journal, &mut rebuilt.replay, head, &self.writer()).await?;
        let entry = self.catalogue.hold(id)?;
        if entry.standing == Standing::Deleted {
            self.bury(&entry).await?;
            return Err(unknown_database(name));
        }
        log::info!(database = name, t = head.t, term = head.term, seq = header.seq, "a database was opened by its log");
        self.start(entry, rebuilt.replay.clone(), head, Some(Arc::new((header.seq, body))))?;
        self.databases.note_damaged(name, None);
        Ok(rebuilt)
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

    async fn fork(&self, fork: &Fork) -> Result<Forked> {
        let Fork { name, new_name, as_of } = fork;
        check_name(new_name)?;
        let origin = self.databases.get(name)?;
        let durable = origin.durable();
        let t = match as_of {
            Some(point) => durable.db.t_at(proto::time_point(&durable.db, point)?)?,
            None => durable.db.basis_t(),
        };
        if t > durable.db.basis_t() {
            let message = format!("database {name:?} is at t {}, and cannot be forked at t {t}", durable.db.basis_t());
            return Err(Error::incorrect("db.error/t-not-reached", message).with("basis-t", durable.head.t as i64));
        }
        if let Ok(there) = self.databases.get(new_name) {
            return self.forked_before(&origin, &there, as_of.as_ref().map(|_| t));
        }
        let started = self.world.clock.since_boot();
        let id = DatabaseId(self.world.entropy.sixteen());
        let entry = self.catalogue.begin(id, new_name)?;
        let made = self.begin_fork(&origin, &durable, id, t).await;
        let forking::Prepared { replay, head, index, written_bytes, .. } = match made {
            Ok(made) => made,
            Err(error) => {
                // Of a step whose outcome is not known the next start finds out.
                if error.category() != Category::Unknown && !is_the_end(&error) {
                    self.catalogue.clear(entry)?;
                }
                return Err(error.within(format_args!("a fork of database {name:?} at t {t}")));
            }
        };
        let entry = self
            .catalogue
            .finish(entry)?
            .ok_or_else(|| fenced(format!("the name {new_name:?} was taken by another transactor")))?;
        let took = self.world.clock.since_boot().saturating_sub(started);
        let took_ms = took.as_millis() as u64;
        log::info!(database = new_name, %id, origin = name, t, written_bytes, took_ms, "a database was forked");
        self.start(entry, replay, head, Some(index))?;
        Ok(Forked { id, created: true, t })
    }

    async fn begin_restored(&self, (entry, prepared): (Entry, forking::Prepared)) -> Result<()> {
        let (name, id) = (entry.name.clone(), entry.id);
        // Whoever opened the store meanwhile, or started this actor again, has cleared what had no log.
        if self.databases.get(&name).is_ok() || self.catalogue.entry(id)?.as_ref() != Some(&entry) {
            let message = format!("database {name:?} was made, or the restore given up, by somebody else meanwhile");
            return Err(Error::conflict("db.error/name-taken", message).with("database", name));
        }
        let forking::Prepared { replay, head, record, index, .. } = prepared;
        let step = Step { id, expected: None, new_head: head, record: &record, new_term: false };
        open::append(&*self.world.journal, &step).await?;
        let entry = self
            .catalogue
            .finish(entry)?
            .ok_or_else(|| fenced(format!("the name {name:?} was taken by another transactor")))?;
        log::info!(database = name, %id, t = head.t, "a database was restored");
        self.start(entry, replay, head, Some(index))
    }

    async fn begin_fork(
        &self,
        origin: &Database,
        durable: &Durable,
        id: DatabaseId,
        t: T,
    ) -> Result<forking::Prepared> {
        let prepared = self.prepare_fork(origin, durable, id, t)?;
        let step = Step { id, expected: None, new_head: prepared.head, record: &prepared.record, new_term: false };
        open::append(&*self.world.journal, &step).await?;
        Ok(prepared)
    }

    fn prepare_fork(&self, origin: &Database, durable: &Durable, id: DatabaseId, t: T) -> Result<forking::Prepared> {
        let shutdown = self.crew.shutdown();
        let job = Job {
            journal: &*self.world.journal,
            segments: self.world.segments.clone(),
            cache: &self.world.cache,
            fetch: self.world.fetch(),
            settings: self.world.indexing.settings,
            go_on: &|| !shutdown.is_asked(),
        };
        // What a collection that is at work deletes is told by then.
        drop(self.world.collecting.lock().unwrap_or_else(PoisonError::into_inner));
        let floor = |durable: &Durable| durable.index.as_ref().map_or(0, |index| index.1.floor);
        if floor(&origin.durable()) != floor(durable) {
            return Err(busy("something was erased from the origin meanwhile; ask for the fork again", 100));
        }
        let source = forking::Source {
            trees: &|reader, body| self.world.trees(reader, body),
            kept_from: &|id| garbage::kept_from(&self.world, DatabaseId(id.0)),
        };
        forking::prepare(&job, &source, durable, (id, t), &self.writer())
    }

    /// What to say of a fork that is asked for under a name that is taken: the same as when it was made, if that is the
    /// one.
    fn forked_before(&self, origin: &Database, there: &Database, t: Option<T>) -> Result<Forked> {
        let begun = self.fork_record(there)?.filter(|fork| t.is_none_or(|t| fork.index.index_t == t));
        let left = begun.as_ref().map(|fork| fork.origin.0);
        match begun.filter(|fork| self.leaves(fork, origin).unwrap_or(false)) {
            Some(fork) => Ok(Forked { id: there.id, created: false, t: fork.index.index_t }),
            None => {
                let message = match left {
                    None => format!(
                        "there is a database {:?} already, which is not that fork; give another name",
                        there.name
                    ),
                    Some(_) => format!("database {:?} is a fork of another database; give another name", there.name),
                };
                Err(Error::conflict("db.error/name-taken", message).with("database", there.name.as_str()))
            }
        }
    }

    /// Whether a fork is one of this database: what that had before it left an origin of its own, it has of that one.
    fn leaves(&self, fork: &ForkBody, origin: &Database) -> Result<bool> {
        if fork.origin.0 == origin.id.0 {
            return Ok(true);
        }
        let mut log = self.past(origin);
        while let Some(of) = forking::origin_of(&log)?.filter(|of| fork.index.index_t < of.index.index_t) {
            if of.origin == fork.origin {
                return Ok(true);
            }
            (log.id, log.root) = (None, of.index.log);
        }
        Ok(false)
    }

    /// The record that a fork begins with.
    fn fork_record(&self, database: &Database) -> Result<Option<ForkBody>> {
        forking::origin_of(&self.past(database))
    }

    /// A database's log.
    fn past(&self, database: &Database) -> Past<'_> {
        let durable = database.durable();
        let lineage = durable.chain.lineage().unwrap_or(durable.chain.database());
        let root = durable.index.as_ref().and_then(|index| index.1.log);
        let (journal, segments) = (&*self.world.journal, &*self.world.segments);
        Past { journal, segments, lineage, id: Some(database.id), root }
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
