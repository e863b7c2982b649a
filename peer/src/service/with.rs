//! Speculative transactions: what would be, were they committed.

use super::PeerService;
use super::datoms::Turn;
use super::log::{FACTS_PER_MESSAGE, Pieces, weight};
use db::budget::Budget;
use db::edn::Edn;
use db::tx::{Functions, TxLimits, TxReport, transact};
use db::{Db, Error, Instant, Result, replay};
use proto::v1;
use proto::v1::tx_data::Kind;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;

impl PeerService {
    pub(super) async fn run_with(&self, request: v1::WithRequest, timeout: Duration) -> Result<Reports> {
        let end = tokio::time::Instant::now() + timeout;
        let view = request.database.unwrap_or_default();
        let invalid = |message: &str| Err(Error::incorrect("db.error/invalid-with", message));
        if view.with_tx_data.is_empty() {
            return invalid("there is nothing to apply: give the view at least one transaction in `with_tx_data`");
        }
        if view.as_of.is_some() || view.since.is_some() || view.history {
            return invalid(
                "transactions apply to what is true now, not to a view of the past: leave as_of, since and history \
                 out; a query of the same view may have them, and looks through them at what the transactions gave",
            );
        }
        let (followed, known) = self.known(&view.name, view.least_t, end).await?;
        let database = Some(super::info(&followed));
        let head = v1::ReadHead { database, basis_t: known.db.basis_t() };
        let reports = self.speculate(known.db.clone(), view.with_tx_data, end).await?;
        Ok(Reports { head: Some(head), reports: reports.into(), pieces: None })
    }

    /// Applies transactions to a database value, each to what the one before it gave. There is at least one.
    pub(super) async fn speculate(
        &self,
        db: Db,
        transactions: Vec<v1::TxData>,
        end: tokio::time::Instant,
    ) -> Result<Vec<TxReport>> {
        let turn = Turn { pool: self.pool.clone(), clock: self.clock.clone(), end };
        let (functions, now) = (self.functions.clone(), self.clock.now());
        turn.run(move |budget| apply(db, transactions, now, &functions, budget)).await
    }
}

fn apply(
    mut db: Db,
    transactions: Vec<v1::TxData>,
    now: Instant,
    functions: &Functions,
    budget: &Budget<'_>,
) -> Result<Vec<TxReport>> {
    let count = transactions.len();
    let mut reports = Vec::with_capacity(count);
    for (number, tx_data) in transactions.into_iter().enumerate() {
        // One transaction has limits of its own and is not interrupted.
        budget.look()?;
        let report = form(tx_data).and_then(|tx_data| transact(&db, &tx_data, now, functions, &TxLimits::default()));
        let report = report.map_err(|error| match count {
            1 => error,
            _ => error.within(format_args!("transaction {} of {count} in `with_tx_data`", number + 1)),
        })?;
        db = report.db_after.clone();
        reports.push(report);
    }
    Ok(reports)
}

fn form(tx_data: v1::TxData) -> Result<Edn> {
    match tx_data.kind {
        Some(Kind::Edn(text)) => db::edn::read(&text),
        Some(Kind::Forms(forms)) => proto::tx_data(forms.values),
        None => Err(Error::incorrect("db.error/invalid-with", "tx-data has none of its fields set: give EDN or forms")),
    }
}

/// Reports on their way out: they become messages as the caller reads them.
pub struct Reports {
    head: Option<v1::ReadHead>,
    reports: VecDeque<TxReport>,
    /// What is left of the first report.
    pieces: Option<Pieces>,
}

impl Reports {
    fn message(&mut self) -> Option<v1::WithResponse> {
        let mut response = v1::WithResponse { head: self.head.take(), transactions: Vec::new() };
        let mut facts = 0;
        while facts < FACTS_PER_MESSAGE
            && let Some(report) = self.reports.front()
        {
            // Nobody sent a request that it could be the digest of.
            let pieces = self.pieces.get_or_insert_with(|| Pieces::of(replay::entry(report, [0; 32])));
            match pieces.next(report.db_after.schema(), FACTS_PER_MESSAGE - facts) {
                Some(piece) => {
                    facts += weight(&piece);
                    response.transactions.push(piece);
                }
                None => {
                    self.reports.pop_front();
                    self.pieces = None;
                }
            }
        }
        (response.head.is_some() || !response.transactions.is_empty()).then_some(response)
    }
}

impl tokio_stream::Stream for Reports {
    type Item = Result<v1::WithResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.message().map(Ok))
    }
}
