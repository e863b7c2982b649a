//! The service `Admin`.

use crate::commit::Database;
use crate::erasing;
use crate::errors::{STORAGE_FAILED, busy, stopping};
use crate::garbage::{Ask, Report};
use crate::host::{DAMAGED_TREES, Host, World};
use crate::open::Writer;
use crate::restoring::{self, Asked, Line, RESTORES_MAX};
use crate::verifying::verify;
use crate::{backups, repair, tree};
use bytes::Bytes;
use db::{Category, Error, Result};
use process::mailbox::Refused;
use process::{Crew, Executor, Feed, Outgoing, Shutdown, log};
use proto::v1::admin_server::Admin;
use proto::v1::verify_response::Kind;
use proto::v1::{restore_request, restore_response};
use proto::{OrStatus, v1};
use std::sync::{Arc, Mutex};
use storage::DatabaseId;
use stores::verification::{Told, Verified, segment_of};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Request, Response, Status, Streaming};

/// Messages of one who hands a backup over that wait to be looked at.
const SAID_MAX: usize = 8;

pub struct AdminService {
    pub host: Host,
    pub world: World,
    pub crew: Crew,
    /// Restores that may begin.
    restores: Arc<Semaphore>,
}

type Excised = v1::excise_response::Kind;

#[tonic::async_trait]
impl Admin for AdminService {
    type ExciseStream = Outgoing<v1::ExciseResponse>;

    async fn excise(&self, request: Request<v1::ExciseRequest>) -> Result<Response<Self::ExciseStream>, Status> {
        let request = request.into_inner();
        self.host.databases.get(&request.database).or_status()?;
        let host = self.host.clone();
        Ok(Response::new(self.crew.stream(&tree::EXCISE_STREAM, move |sender, point| async move {
            point.pass();
            let progress = sender.clone();
            let told: erasing::Told = Arc::new(move |stage: &str, done, total| {
                let progress_of = v1::ExciseProgress { stage: stage.to_owned(), done, total };
                // Where there is no room, another one follows.
                let _ = progress.try_send(Ok(v1::ExciseResponse { kind: Some(Excised::Progress(progress_of)) }));
                if progress.is_closed() { Err(called_off()) } else { Ok(()) }
            });
            let answer = match erase(&host, request, told).await {
                Ok(report) => Ok(v1::ExciseResponse { kind: Some(Excised::Report(report)) }),
                Err(error) => Err(proto::status(&error)),
            };
            // The caller may have gone away.
            let _ = sender.send(answer).await;
        })))
    }

    async fn collect_garbage(
        &self,
        request: Request<v1::CollectGarbageRequest>,
    ) -> Result<Response<v1::CollectGarbageResponse>, Status> {
        let v1::CollectGarbageRequest { database, dry_run } = request.into_inner();
        let database = (!database.is_empty()).then_some(database);
        let reports = self.collect(database, dry_run).await.or_status()?;
        let databases = reports.into_iter().map(of_report).collect();
        let retention_ms = self.world.garbage.retention.as_millis() as u64;
        Ok(Response::new(v1::CollectGarbageResponse { databases, retention_ms }))
    }

    type VerifyStream = Outgoing<v1::VerifyResponse>;

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<Self::VerifyStream>, Status> {
        let v1::VerifyRequest { database: name, repair } = request.into_inner();
        let found = match self.host.databases.get(&name) {
            Err(error) if error.code() == DAMAGED_TREES => Err(error),
            found => Ok(found.or_status()?),
        };
        let (world, host, executor) = (self.world.clone(), self.host.clone(), self.crew.executor());
        let shutdown = self.crew.shutdown().clone();
        Ok(Response::new(self.crew.stream(&tree::VERIFY_STREAM, move |sender, point| async move {
            point.pass();
            let progress = sender.clone();
            let told: Arc<Told<'static>> = Arc::new(move |stage: &str, done, total| {
                let progress_of = v1::VerifyProgress { stage: stage.to_owned(), done, total };
                // Where there is no room, another one follows.
                let _ = progress.try_send(Ok(answer(Kind::Progress(progress_of))));
                match shutdown.is_asked() || progress.is_closed() {
                    true => Err(stopping()),
                    false => Ok(()),
                }
            });
            let verifying = Verifying { name, world, host, executor, told };
            match verifying.run(found, repair).await {
                Err(error) => drop(sender.send(Err(proto::status(&error))).await),
                Ok(Verified { faults, summary, .. }) => {
                    for fault in faults {
                        if sender.send(Ok(answer(Kind::Fault(fault)))).await.is_err() {
                            return;
                        }
                    }
                    let _ = sender.send(Ok(answer(Kind::Summary(summary)))).await;
                }
            }
        })))
    }

    type RestoreStream = Outgoing<v1::RestoreResponse>;

    async fn restore(
        &self,
        request: Request<Streaming<v1::RestoreRequest>>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        let permit = self.restores.clone().try_acquire_owned();
        let full = |_| busy(format!("{RESTORES_MAX} databases are being restored already"), 5000);
        let permit = permit.map_err(full).or_status()?;
        let (host, world, executor) = (self.host.clone(), self.world.clone(), self.crew.executor());
        let shutdown = self.crew.shutdown().clone();
        let from = request.into_inner();
        Ok(Response::new(self.crew.stream(&tree::RESTORE_STREAM, move |sender, point| async move {
            point.pass();
            let _permit = permit;
            let done = Self::restore_from(&host, &world, executor, shutdown, from, sender.clone()).await;
            let answer = done.map(|done| v1::RestoreResponse { kind: Some(restore_response::Kind::Done(done)) });
            let _ = sender.send(answer.or_status()).await;
        })))
    }

    async fn note_backup(
        &self,
        request: Request<v1::NoteBackupRequest>,
    ) -> Result<Response<v1::NoteBackupResponse>, Status> {
        let world = self.world.clone();
        let noting = move || backups::note(&world, &request.into_inner());
        self.crew.executor().blocking(noting).await.or_status()?;
        Ok(Response::new(v1::NoteBackupResponse {}))
    }
}

/// Erases, and waits for the outcome.
async fn erase(host: &Host, request: v1::ExciseRequest, told: erasing::Told) -> Result<v1::ExciseReport> {
    let asked = host.eraser.ask(|reply| erasing::Ask { request, told, reply });
    let answer = asked.map_err(|refused| match refused {
        Refused::Full => busy("other erasures are at work or wait already", 1000),
        Refused::Gone => stopping(),
    })?;
    answer.await.unwrap_or_else(|| {
        let message =
            "the erasure was cut off; if its record was written it is finished by itself, ask for it again to hear";
        Err(Error::new(Category::Unknown, "db.error/outcome-unknown", message))
    })
}

/// One verification, and a repair if it is wanted and there is something to repair.
struct Verifying {
    name: String,
    world: World,
    host: Host,
    executor: Executor,
    told: Arc<Told<'static>>,
}

impl Verifying {
    async fn run(&self, found: std::result::Result<Arc<Database>, Error>, repair: bool) -> Result<Verified> {
        let before = match &found {
            Ok(database) => self.verify(database).await?,
            Err(error) => not_open(error),
        };
        if !repair || before.faults.is_empty() || !before.log_is_whole {
            return Ok(before);
        }
        let (database, rebuilt) = match found {
            Ok(database) => (database, None),
            Err(_) => {
                let rebuilt = self.host.rebuild(self.name.clone(), self.told.clone()).await?;
                (self.host.databases.get(&self.name)?, Some(rebuilt))
            }
        };
        let (world, executor) = (&self.world, &self.executor);
        let seq = repair::repair(world, executor, &database, rebuilt, self.told.clone()).await?;
        let mut after = self.verify(&database).await?;
        after.summary.repaired_faults = before.faults.len() as u64;
        after.summary.repaired_index_seq = seq;
        Ok(after)
    }

    async fn verify(&self, database: &Database) -> Result<Verified> {
        let (id, head) = (database.id, database.durable().head);
        let (world, told) = (self.world.clone(), self.told.clone());
        self.executor.blocking(move || verify(&world, id, head, &*told)).await
    }
}

/// What is known of a database that was not opened: why.
fn not_open(error: &Error) -> Verified {
    let index = error.details().iter().find(|(key, _)| key == "index");
    let place = index.map_or("its trees".to_owned(), |(_, seq)| format!("index record {seq}"));
    let fault = v1::VerifyFault { place, segment: segment_of(error), what: error.message().to_owned() };
    let summary = v1::VerifySummary { faults: 1, ..v1::VerifySummary::default() };
    Verified { faults: vec![fault], summary, log_is_whole: true }
}

impl AdminService {
    pub fn new(host: &Host, world: &World, crew: &Crew) -> AdminService {
        let restores = Arc::new(Semaphore::new(RESTORES_MAX));
        AdminService { host: host.clone(), world: world.clone(), crew: crew.clone(), restores }
    }

    /// Serves one who hands a backup over, until the database is live, or one of both gives up.
    async fn restore_from(
        host: &Host,
        world: &World,
        executor: Executor,
        shutdown: Shutdown,
        mut from: Streaming<v1::RestoreRequest>,
        feed: Feed<v1::RestoreResponse>,
    ) -> Result<v1::RestoreDone> {
        let begin = match from.message().await.map_err(|status| proto::error(&status))? {
            Some(v1::RestoreRequest { kind: Some(restore_request::Kind::Begin(begin)) }) => begin,
            _ => {
                let message = "a restore begins with what shall be restored";
                return Err(Error::incorrect("db.error/restore-out-of-turn", message));
            }
        };
        let asked = Asked::of(begin)?;
        let id = DatabaseId(world.entropy.sixteen());
        let (databases, name) = (host.databases.clone(), asked.name.clone());
        let announcing = world.clone();
        let entry = executor.blocking(move || restoring::announce(&announcing, &databases, &name, id)).await?;
        let (said_put, said) = mpsc::channel(SAID_MAX);
        let line = Line { feed, said: Mutex::new(said), runtime: Handle::current(), shutdown };
        let bringing = world.clone();
        let brought = executor.blocking(move || {
            let writer =
                Writer { endpoint: &bringing.endpoint, now: bringing.clock.now(), entropy: &*bringing.entropy };
            restoring::restore(&bringing, &asked, line, id, &writer)
        });
        // Ends when there is nothing to be heard any more, which ends the other one too.
        let hear = async move {
            while let Ok(Some(request)) = from.message().await {
                if said_put.send(request).await.is_err() {
                    break;
                }
            }
            drop(said_put);
            std::future::pending::<()>().await;
        };
        let brought = tokio::select! {
            brought = brought => brought,
            () = hear => unreachable!("it waits for ever"),
        };
        let begun = match brought {
            Ok((prepared, came)) => {
                let t = prepared.head.t;
                host.begin_restored(entry.clone(), prepared).await.map(|()| (t, came))
            }
            Err(error) => Err(error),
        };
        match begun {
            Ok((t, came)) => Ok(v1::RestoreDone {
                database_id: Bytes::copy_from_slice(&id.0),
                t,
                segments: came.segments,
                segments_there: came.segments_there,
                bytes: came.bytes,
            }),
            // Of a step whose outcome is not known the next start finds out.
            Err(error) if error.category() == Category::Unknown || error.code() == STORAGE_FAILED => Err(error),
            Err(error) => {
                let (clearing, name) = (world.clone(), entry.name.clone());
                if let Err(left) = executor.blocking(move || restoring::give_up(&clearing, entry)).await {
                    log::warn!(database = name, error = %left, "a restore that failed is cleared at the next start");
                }
                Err(error)
            }
        }
    }

    async fn collect(&self, database: Option<String>, dry_run: bool) -> Result<Vec<Report>> {
        let answer =
            self.host.collector.ask(|reply| Ask { database, dry_run, reply }).map_err(|refused| match refused {
                Refused::Full => busy("garbage is being collected, and others wait for that", 1000),
                Refused::Gone => stopping(),
            })?;
        answer.await.unwrap_or_else(|| {
            let message = "the collection of garbage was cut off; what was deleted was garbage, ask for it again";
            Err(Error::new(Category::Unavailable, "db.error/cut-off", message))
        })
    }
}

fn called_off() -> Error {
    Error::new(
        Category::Interrupted,
        "db.error/cancelled",
        "whoever asked for the erasure has gone away; nothing was erased",
    )
}

fn answer(kind: Kind) -> v1::VerifyResponse {
    v1::VerifyResponse { kind: Some(kind) }
}

fn of_report(report: Report) -> v1::DatabaseGarbage {
    let group = |(class, row): (&crate::garbage::Class, &crate::garbage::Row)| v1::SegmentGroup {
        what: class.text().to_owned(),
        goes: class.goes(),
        segments: row.segments,
        bytes: row.bytes,
    };
    v1::DatabaseGarbage {
        groups: report.rows.iter().map(group).collect(),
        kept: report
            .kept
            .iter()
            .map(|kept| v1::KeptIndex { seq: kept.seq, index_t: kept.index_t, instant_ms: kept.instant.0 })
            .collect(),
        id: Bytes::copy_from_slice(&report.id.0),
        name: report.name,
    }
}
