//! Datoms of an indexed attribute by value, between two values.

use super::PeerService;
use super::datoms::{after, form};
use db::{Place, Result, Sort, Span};
use process::Outgoing;
use proto::v1;
use std::ops::Bound;
use std::time::Duration;

impl PeerService {
    pub(super) async fn read_index_range(
        &self,
        request: v1::IndexRangeRequest,
        timeout: Duration,
    ) -> Result<Outgoing<v1::DatomsResponse>> {
        let end = tokio::time::Instant::now() + timeout;
        let viewed = self.view(&request.database.unwrap_or_default(), end).await?;
        let span = move |db: &db::Db| {
            let attribute = form(request.attribute.unwrap_or_default())?;
            let place = |value: Option<v1::Component>| -> Result<Option<Place>> {
                let Some(value) = value else { return Ok(None) };
                db.place(Sort::Avet, &[attribute.clone(), form(value)?]).map(Some)
            };
            let whole = db.place(Sort::Avet, std::slice::from_ref(&attribute))?;
            Ok(Span {
                sort: Sort::Avet,
                lower: Bound::Included(place(request.start)?.unwrap_or_else(|| whole.clone())),
                upper: place(request.end)?.map_or(Bound::Included(whole), Bound::Excluded),
                reverse: request.reverse,
                after: after(db, request.after)?,
            })
        };
        self.stream_datoms(viewed, span, request.limit, end).await
    }
}
