//! The newest transactions of a followed database, kept while somebody is told of each: most listeners want what came
//! just now, and need not read it from storage. Whoever lags behind more than this reads the log.

use db::T;
use db::log::{TxEntry, tx_bytes_bound};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

/// Transactions kept, by count and by bytes; the newest one is kept whatever it takes.
const COUNT_MAX: usize = 4096;
pub const BYTES_MAX: usize = 8 << 20;

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Recent(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    listeners: usize,
    /// Consecutive.
    entries: VecDeque<(Arc<TxEntry>, usize)>,
    bytes: usize,
}

/// Keeps the transactions coming; they are forgotten when the last one of these is dropped.
pub struct Listening(Recent);

impl Recent {
    pub fn listen(&self) -> Listening {
        self.lock().listeners += 1;
        Listening(self.clone())
    }

    pub fn listeners(&self) -> usize {
        self.lock().listeners
    }

    /// Bytes of the transactions that are kept.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Some transactions from t on, at least one; None if t is not here.
    pub fn starting_at(&self, t: T, count_max: usize) -> Option<Vec<Arc<TxEntry>>> {
        let inner = self.lock();
        let first_t = inner.entries.front()?.0.t;
        let at = usize::try_from(t.checked_sub(first_t)?).ok()?;
        let found: Vec<_> = inner.entries.iter().skip(at).take(count_max).map(|(entry, _)| entry.clone()).collect();
        (!found.is_empty()).then_some(found)
    }

    pub(crate) fn add<'a>(&self, entries: impl IntoIterator<Item = &'a TxEntry>) {
        let mut inner = self.lock();
        if inner.listeners == 0 {
            return;
        }
        for entry in entries {
            if inner.entries.back().is_some_and(|(last, _)| last.t + 1 != entry.t) {
                inner.forget();
            }
            let bytes = tx_bytes_bound(entry);
            inner.bytes += bytes;
            inner.entries.push_back((Arc::new(entry.clone()), bytes));
            while inner.entries.len() > 1 && (inner.entries.len() > COUNT_MAX || inner.bytes > BYTES_MAX) {
                let oldest = inner.entries.pop_front().map_or(0, |(_, bytes)| bytes);
                inner.bytes -= oldest;
            }
        }
    }

    /// Something was erased; what is here may tell of it.
    pub(crate) fn forget(&self) {
        self.lock().forget();
    }

    /// Never held while anything waits.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    fn forget(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.listeners -= 1;
        if inner.listeners == 0 {
            inner.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use db::log::LoggedDatom;
    use db::{EntityId, Instant, Value};

    fn entry(t: T, text_bytes: usize) -> TxEntry {
        let v = Value::string("x".repeat(text_bytes));
        let datom = LoggedDatom { e: EntityId::of_tx(t), a: EntityId::of_tx(t), v, added: true };
        TxEntry { t, instant: Instant(0), datoms: vec![datom], tempids: Vec::new(), digest: [0; 32] }
    }

    fn ts(recent: &Recent, t: T) -> Option<Vec<T>> {
        recent.starting_at(t, 100).map(|entries| entries.iter().map(|entry| entry.t).collect())
    }

    #[test]
    fn what_came_last_is_found_from_any_t_while_somebody_listens() {
        let recent = Recent::default();
        recent.add(&[entry(1, 1)]);
        assert_eq!(ts(&recent, 1), None);
        let (one, two) = (recent.listen(), recent.listen());
        recent.add(&[entry(5, 1), entry(6, 1)]);
        recent.add(&[entry(7, 1)]);
        assert_eq!(ts(&recent, 6), Some(vec![6, 7]));
        assert_eq!((ts(&recent, 4), ts(&recent, 8)), (None, None));
        assert_eq!(recent.starting_at(5, 2).unwrap().len(), 2);
        // Nobody listened to 8.
        recent.add(&[entry(9, 1)]);
        assert_eq!((ts(&recent, 7), ts(&recent, 9)), (None, Some(vec![9])));
        drop(one);
        assert_eq!(ts(&recent, 9), Some(vec![9]));
        drop(two);
        assert_eq!((ts(&recent, 9), recent.listeners()), (None, 0));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large_ones() {
        let recent = Recent::default();
        let _listening = recent.listen();
        let many: Vec<TxEntry> = (1..=2 * COUNT_MAX as T).map(|t| entry(t, 1)).collect();
        recent.add(&many);
        assert_eq!((ts(&recent, COUNT_MAX as T), recent.lock().entries.len()), (None, COUNT_MAX));
        recent.add(&[entry(2 * COUNT_MAX as T + 1, 2 * BYTES_MAX)]);
        assert_eq!(recent.lock().entries.len(), 1);
        recent.add(&[entry(2 * COUNT_MAX as T + 2, 1)]);
        assert_eq!(recent.lock().entries.len(), 1);
        assert!(recent.lock().bytes < BYTES_MAX);
    }
}
