//! One append, carried through to a known outcome.

use std::time::Duration;
use storage::{Appended, DatabaseId, Error, ErrorKind, Head, Journal, Records, Result};

/// A record and the step that would write it.
pub struct Step<'a> {
    pub id: DatabaseId,
    pub expected: Option<Head>,
    pub new_head: Head,
    pub record: &'a [u8],
    /// It begins a term.
    pub new_term: bool,
}

/// What became of a step.
#[derive(Debug)]
pub enum Fate {
    /// The record is durable.
    Done,
    /// Another writer has the slot: our term is over.
    Fenced(String),
    /// Nothing was written, and nothing will be.
    NotDone(Error),
    /// The store failed, and what it wrote is not known: it must not be used again.
    Broken(Error),
}

/// Between two looks at a slot whose outcome is not known.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// So many looks without an answer, or so long a time, and the store has failed.
const LOOKS_MAX: u32 = 600;
const LOOKING_MAX: Duration = Duration::from_secs(60);

/// Appends, and does not return before the outcome is known, or known to be out of reach.
///
/// A step with an unknown outcome stays open: its slot is read, and while it is empty *the same bytes* are offered
/// again. Another record for that slot is never built. Between looks it waits as the runtime's timer does.
pub async fn append_surely(journal: &dyn Journal, step: &Step<'_>) -> Fate {
    let mut looks = 0;
    let begun = tokio::time::Instant::now();
    loop {
        let answer = match (step.new_term, step.expected) {
            (true, Some(expected)) => journal.take_over(step.id, expected, step.new_head, step.record),
            _ => journal.append(step.id, step.expected, step.new_head, step.record),
        };
        let error = match answer {
            Ok(Appended::Done) => return Fate::Done,
            Ok(Appended::Moved(head)) if looks == 0 => return Fate::Fenced(moved(step, head)),
            // What we offered before may have been written then, and other records after it: the slot tells.
            Ok(Appended::Moved(head)) => Error::new(ErrorKind::Unknown, moved(step, head)),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Unknown => {}
            ErrorKind::Busy | ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::NotFound if looks == 0 => {
                return Fate::NotDone(error);
            }
            // After an unknown outcome, a refusal of the same bytes says nothing about those offered first.
            ErrorKind::Busy => {}
            _ => return Fate::Broken(error),
        }
        loop {
            looks += 1;
            if looks > LOOKS_MAX || begun.elapsed() > LOOKING_MAX {
                return Fate::Broken(error);
            }
            match slot(journal, step) {
                Ok(Some(true)) => return Fate::Done,
                Ok(Some(false)) => return Fate::Fenced(moved(step, None)),
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::Poisoned => return Fate::Broken(error),
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        if looks > 1 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// Whether the slot holds our bytes; None while it is empty.
fn slot(journal: &dyn Journal, step: &Step<'_>) -> Result<Option<bool>> {
    match journal.read(step.id, step.new_head.seq, 1)? {
        Records::Found(records) => Ok(records.first().map(|record| record.bytes == step.record)),
        Records::Sealed { before_seq } => {
            let message = format!(
                "record {} of database {} was sealed (before {before_seq}) while its outcome was not known",
                step.new_head.seq, step.id
            );
            Err(Error::new(ErrorKind::Unknown, message))
        }
    }
}

fn moved(step: &Step<'_>, head: Option<Head>) -> String {
    let found = head.map_or(String::new(), |head| format!(" (term {}, record {})", head.term, head.seq));
    format!(
        "record {} of database {} was written by another transactor{found}; this one's term is over",
        step.new_head.seq, step.id
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use storage::conformance::{append_next, database, head_after};
    use storage::faulty::{Fault, FaultyJournal};
    use storage::{MemoryStore, Options};

    fn journal() -> (Arc<FaultyJournal>, Head) {
        let journal = FaultyJournal::new(MemoryStore::new(Options::default()).store().journal());
        let create = append_next(&journal, database(1), None, b"create");
        (Arc::new(journal), create)
    }

    async fn append(journal: &FaultyJournal, expected: Head) -> Fate {
        let (id, record) = (database(1), b"ours");
        let new_head = head_after(Some(expected), record);
        append_surely(journal, &Step { id, expected: Some(expected), new_head, record, new_term: false }).await
    }

    fn take_over(journal: &dyn Journal, head: Head) {
        let term = Head { term: head.term + 1, ..head_after(Some(head), b"term") };
        assert_eq!(journal.take_over(database(1), head, term, b"term").unwrap(), Appended::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_bytes_are_offered_until_the_slot_tells() {
        let (journal, create) = journal();
        for fault in [Fault::StepLost, Fault::AnswerLost, Fault::StepLost, Fault::Busy, Fault::StepLost] {
            journal.then(fault);
        }
        assert!(matches!(append(&journal, create).await, Fate::Done));
        assert_eq!(journal.head(database(1)).unwrap().unwrap().seq, 2);
    }

    /// The answer is given up; the step is done after all, another writer takes over behind it, and only then the same
    /// bytes are offered again. The moved head says that our term is over, and not that our record was not written.
    #[tokio::test(start_paused = true)]
    async fn a_late_step_that_was_done_before_another_took_over_is_done() {
        let (journal, create) = journal();
        journal.then_late(move |inner| take_over(inner, head_after(Some(create), b"ours")));
        assert!(matches!(append(&journal, create).await, Fate::Done));
        assert_eq!(journal.head(database(1)).unwrap().unwrap().term, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_whose_slot_another_took_is_fenced_whatever_was_lost_before() {
        for lost in [0, 1] {
            let (journal, create) = journal();
            take_over(&*journal, create);
            (0..lost).for_each(|_| journal.then(Fault::StepLost));
            assert!(matches!(append(&journal, create).await, Fate::Fenced(_)), "{lost} lost");
        }
    }
}
