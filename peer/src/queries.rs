//! Parsed queries, kept by their text: applications ask the same few again and again.

use db::Result;
use db::query::Query;
use process::metrics::Counter;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const QUERIES_MAX: usize = 256;
/// Longer ones are rather data than questions.
const TEXT_BYTES_MAX: usize = 16 << 10;

#[derive(Default)]
pub struct Queries {
    /// Held for one lookup; parsing happens outside.
    recent: Mutex<Recent>,
    /// Texts that were, and were not, parsed before.
    pub hits: Counter,
    pub misses: Counter,
}

#[derive(Default)]
struct Recent {
    uses: u64,
    by_text: BTreeMap<String, (Arc<Query>, u64)>,
}

impl Queries {
    /// The query that a text says, parsed once.
    pub fn parse(&self, text: &str) -> Result<Arc<Query>> {
        if let Some(query) = self.look_up(text) {
            self.hits.inc();
            return Ok(query);
        }
        self.misses.inc();
        let query = Arc::new(Query::parse(&db::edn::read(text)?)?);
        if text.len() <= TEXT_BYTES_MAX {
            self.keep(text, query.clone());
        }
        Ok(query)
    }

    fn look_up(&self, text: &str) -> Option<Arc<Query>> {
        let mut recent = self.lock();
        recent.uses += 1;
        let now = recent.uses;
        let (query, used) = recent.by_text.get_mut(text)?;
        *used = now;
        Some(query.clone())
    }

    fn keep(&self, text: &str, query: Arc<Query>) {
        let mut recent = self.lock();
        if recent.by_text.len() >= QUERIES_MAX {
            let oldest = recent.by_text.iter().min_by_key(|(_, (_, used))| *used).map(|(text, _)| text.clone());
            oldest.map(|text| recent.by_text.remove(&text));
        }
        let now = recent.uses;
        recent.by_text.insert(text.to_owned(), (query, now));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_parsed_once_and_the_least_recently_used_goes() {
        let queries = Queries::default();
        let text = |n: usize| format!("[:find ?e :where [?e :item/number {n}]]");
        let first = queries.parse(&text(0)).unwrap();
        for n in 1..QUERIES_MAX {
            queries.parse(&text(n)).unwrap();
        }
        assert!(Arc::ptr_eq(&first, &queries.parse(&text(0)).unwrap()));
        let second = queries.parse(&text(1)).unwrap();
        queries.parse(&text(QUERIES_MAX)).unwrap();
        assert!(Arc::ptr_eq(&first, &queries.parse(&text(0)).unwrap()));
        assert!(Arc::ptr_eq(&second, &queries.parse(&text(1)).unwrap()));
        assert_eq!(queries.lock().by_text.len(), QUERIES_MAX);
        assert!(queries.parse("[:find").is_err());
        assert_eq!((queries.hits.get(), queries.misses.get()), (4, QUERIES_MAX as u64 + 2));
    }
}
