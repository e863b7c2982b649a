//! The service `Admin`.

use crate::commit::Database;
use crate::erasing;
use crate::errors::{busy, stopping};
use crate::garbage::{Ask, Report};
use crate::host::{DAMAGED_TREES, Host, World};
use crate::verification::{Told, Verification, Verified, segment_of};
use crate::{repair, tree};
use bytes::Bytes;
use db::{Category, Error, Result};
use process::mailbox::Refused;
use process::{Crew, Executor, Outgoing};
use proto::v1::admin_server::Admin;
use proto::v1::verify_response::Kind;
use proto::{OrStatus, v1};
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub struct AdminService {
    pub host: Host,
    pub world: World,
    pub crew: Crew,
}

type Excised = v1::excise_response::Kind;

#[tonic::async_trait]
impl Admin for AdminService {
    type ExciseStream = Outgoing<v1::ExciseResponse>;

    async fn excise(&self, request: Request<v1::ExciseRequest>) -> Result<Response<Self::ExciseStream>, Status> {
        let request = request.into_inner();
        self.host.databases.get(&request.database).or_status()?;
        let this = AdminService { host: self.host.clone(), world: self.world.clone(), crew: self.crew.clone() };
        Ok(Response::new(self.crew.stream(&tree::EXCISE_STREAM, move |sender, point| async move {
            point.pass();
            let progress = sender.clone();
            let told: erasing::Told = Arc::new(move |stage: &str, done, total| {
                let progress_of = v1::ExciseProgress { stage: stage.to_owned(), done, total };
                // Where there is no room, another one follows.
                let _ = progress.try_send(Ok(v1::ExciseResponse { kind: Some(Excised::Progress(progress_of)) }));
                if progress.is_closed() { Err(called_off()) } else { Ok(()) }
            });
            let answer = match this.erase(request, told).await {
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
        let (id, durable) = (database.id, database.durable());
        let (world, told) = (self.world.clone(), self.told.clone());
        self.executor.blocking(move || Verification::new(&world, id, durable, &*told).run()).await
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
    async fn erase(&self, request: v1::ExciseRequest, told: erasing::Told) -> Result<v1::ExciseReport> {
        let asked = self.host.eraser.ask(|reply| erasing::Ask { request, told, reply });
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
