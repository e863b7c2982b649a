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
/// So many looks without an answer, and the store has failed.
const LOOKS_MAX: u32 = 600;

/// Appends, and does not return before the outcome is known, or known to be out of reach.
///
/// A step with an unknown outcome stays open: its slot is read, and while it is empty *the same bytes* are offered
/// again. Another record for that slot is never built. Between looks it waits as the runtime's timer does.
pub async fn append_surely(journal: &dyn Journal, step: &Step<'_>) -> Fate {
    let mut looks = 0;
    loop {
        let answer = match (step.new_term, step.expected) {
            (true, Some(expected)) => journal.take_over(step.id, expected, step.new_head, step.record),
            _ => journal.append(step.id, step.expected, step.new_head, step.record),
        };
        let error = match answer {
            Ok(Appended::Done) => return Fate::Done,
            // What we offered before may have been written then.
            Ok(Appended::Moved(head)) if looks > 0 && head == Some(step.new_head) => return Fate::Done,
            Ok(Appended::Moved(head)) => return Fate::Fenced(moved(step, head)),
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
            if looks > LOOKS_MAX {
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
        Records::Sealed { .. } => Ok(Some(false)),
    }
}

fn moved(step: &Step<'_>, head: Option<Head>) -> String {
    let found = head.map_or(String::new(), |head| format!(" (term {}, record {})", head.term, head.seq));
    format!(
        "record {} of database {} was written by another transactor{found}; this one's term is over",
        step.new_head.seq, step.id
    )
}
