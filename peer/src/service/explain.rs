//! How a query is carried out, told by running it.

use super::PeerService;
use super::query::{parsed, placed};
use db::Result;
use db::budget::Budget;
use db::query::{Explanation, Options, Read, Step, StepKind, explain};
use proto::v1;
use std::time::Duration;

/// The share of the caller's time that is kept for telling how far a query came that ran out of it.
const TIME_TO_TELL: u32 = 10;

impl PeerService {
    pub(super) async fn run_explain(
        &self,
        request: v1::ExplainRequest,
        timeout: Duration,
    ) -> Result<v1::ExplainResponse> {
        let started = self.clock.since_boot();
        let end = tokio::time::Instant::now() + timeout;
        let given = self.given(request.inputs, end).await?;
        let queries = self.queries.clone();
        let seed = self.entropy.seed();
        let work = move |budget: &Budget<'_>| {
            let parsed = parsed(&queries, &request.query, request.query_form)?;
            let (inputs, databases) = placed(&parsed, given)?;
            let options = Options { allow_full_scan: request.allow_full_scan, seed };
            Ok((explain(&parsed, &inputs, &options, budget)?, databases))
        };
        let done = self.compute(request.limits, end - timeout / TIME_TO_TELL, end, work).await?;
        let ((explanation, databases), warnings) = done;
        let elapsed = self.clock.since_boot().saturating_sub(started);
        let (edn, text) = (explanation.to_edn().to_string(), explanation.to_string());
        let Explanation { steps, rows, rows_made, stopped, cut } = explanation;
        Ok(v1::ExplainResponse {
            steps: steps.into_iter().map(step).collect(),
            row_count: rows,
            rows_made,
            stopped: stopped.unwrap_or_default(),
            cut,
            databases,
            warnings,
            elapsed_us: elapsed.as_micros() as u64,
            edn,
            text,
        })
    }
}

fn step(told: Step) -> v1::ExplainStep {
    let kind = match told.kind {
        StepKind::Pattern => v1::ExplainKind::Pattern,
        StepKind::Predicate => v1::ExplainKind::Predicate,
        StepKind::Function => v1::ExplainKind::Function,
        StepKind::Not => v1::ExplainKind::Not,
        StepKind::Or => v1::ExplainKind::Or,
        StepKind::Rule => v1::ExplainKind::Rule,
        StepKind::Branch => v1::ExplainKind::Branch,
        StepKind::Find => v1::ExplainKind::Find,
    };
    v1::ExplainStep {
        kind: kind as i32,
        clause: told.clause,
        reads: told.reads.iter().map(read).collect(),
        ranges: told.ranges,
        rows_expected: told.rows_expected,
        rows_in: told.rows_in,
        rows_out: told.rows_out,
        times: told.times,
        steps: told.steps.into_iter().map(step).collect(),
    }
}

fn read(read: &Read) -> v1::ExplainRead {
    v1::ExplainRead {
        how: read.how.name().to_owned(),
        index: read.index_name().unwrap_or_default().to_owned(),
        bound: read.bound_names().map(str::to_owned).collect(),
    }
}
