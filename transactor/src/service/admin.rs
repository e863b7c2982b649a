//! The service `Admin`.

use crate::backups;
use crate::errors::{busy, stopping};
use crate::garbage::{Ask, Report};
use crate::host::{Host, World};
use crate::tree;
use crate::verifying::verify;
use bytes::Bytes;
use db::{Category, Error, Result};
use process::mailbox::Refused;
use process::{Crew, Outgoing};
use proto::v1::admin_server::Admin;
use proto::v1::verify_response::Kind;
use proto::{OrStatus, v1};
use tonic::{Request, Response, Status};

pub struct AdminService {
    pub host: Host,
    pub world: World,
    pub crew: Crew,
}

#[tonic::async_trait]
impl Admin for AdminService {
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
        let database = self.host.databases.get(&request.into_inner().database).or_status()?;
        let (world, executor) = (self.world.clone(), self.crew.executor());
        let shutdown = self.crew.shutdown().clone();
        Ok(Response::new(self.crew.stream(&tree::VERIFY_STREAM, move |sender, point| async move {
            point.pass();
            let progress = sender.clone();
            let told = move |stage: &str, done, total| {
                let progress_of = v1::VerifyProgress { stage: stage.to_owned(), done, total };
                // Where there is no room, another one follows.
                let _ = progress.try_send(Ok(answer(Kind::Progress(progress_of))));
                match shutdown.is_asked() || progress.is_closed() {
                    true => Err(stopping()),
                    false => Ok(()),
                }
            };
            let (id, head) = (database.id, database.durable().head);
            let verified = executor.blocking(move || verify(&world, id, head, &told)).await;
            match verified {
                Err(error) => drop(sender.send(Err(proto::status(&error))).await),
                Ok((faults, summary)) => {
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

impl AdminService {
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
