//! What is wrong with a transaction: all of it, not the first thing found, so that the order of the tx-data does
//! not decide which error its sender gets.

use crate::edn::Edn;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Problems named in one error.
const PROBLEMS_MAX: usize = 10;

/// Gathers errors and keeps the first few, in the order of their codes and messages.
#[derive(Default)]
pub(super) struct Problems {
    kept: BTreeMap<(String, String), Error>,
    more: usize,
}

impl Problems {
    pub(super) fn add(&mut self, error: Error) {
        let key = (error.code().to_string(), error.message().to_string());
        self.kept.entry(key).or_insert(error);
        if self.kept.len() > PROBLEMS_MAX {
            self.kept.pop_last();
            self.more += 1;
        }
    }

    /// The first problem as the error, the others in its details.
    pub(super) fn finish(self) -> Result<()> {
        let mut errors = self.kept.into_values();
        let Some(first) = errors.next() else { return Ok(()) };
        let others: Vec<Edn> = errors
            .map(|error| {
                Edn::Map(vec![
                    (Edn::keyword("code"), Edn::keyword(error.code())),
                    (Edn::keyword("message"), Edn::string(error.message())),
                ])
            })
            .collect();
        if others.is_empty() {
            return Err(first);
        }
        let more = others.len() + self.more;
        let mut all = Error::new(
            first.category(),
            first.code().to_string(),
            format!(
                "{} (and {more} more {} in the details)",
                first.message(),
                if more == 1 { "problem" } else { "problems" }
            ),
        );
        for (key, value) in first.details() {
            all = all.with(key.clone(), value.clone());
        }
        Err(all.with("problems", others))
    }
}
