//! The service `Admin`.

use crate::errors::{busy, stopping};
use crate::garbage::{Ask, Report};
use crate::host::Host;
use bytes::Bytes;
use db::Result;
use process::mailbox::Refused;
use proto::v1::admin_server::Admin;
use proto::{OrStatus, v1};
use std::time::Duration;
use tonic::{Request, Response, Status};

pub struct AdminService {
    pub host: Host,
    pub retention: Duration,
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
        Ok(Response::new(v1::CollectGarbageResponse { databases, retention_ms: self.retention.as_millis() as u64 }))
    }
}

impl AdminService {
    async fn collect(&self, database: Option<String>, dry_run: bool) -> Result<Vec<Report>> {
        let answer =
            self.host.collector.ask(|reply| Ask { database, dry_run, reply }).map_err(|refused| match refused {
                Refused::Full => busy("garbage is being collected, and others wait for that", 1000),
                Refused::Gone => stopping(),
            })?;
        answer.await.unwrap_or_else(|| Err(stopping()))
    }
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
