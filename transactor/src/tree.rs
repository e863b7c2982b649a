//! The actors of a transactor, and what a failure of each leads to.

use process::http::METRICS_GROUP;
use process::supervisor::{Actor, Child, Ends, Group, Panics, Runs, Spent, Strategy};

/// Tx-data nests, and so does what reads it.
pub const WRITER_STACK_BYTES: usize = 16 << 20;
pub const CREATOR_STACK_BYTES: usize = 2 << 20;

pub static TREE: Group = Group {
    name: "transactor",
    strategy: Strategy::OneForOne,
    spent: Spent::Escalate,
    children: &[
        Child::Actor(&WRITER),
        Child::Actor(&CREATOR),
        Child::Actor(&TERM_WATCH),
        Child::Actor(&INDEXER),
        Child::Actor(&COLLECTOR),
        Child::Actor(&ERASER),
        Child::Actor(&FOLLOW_PACE),
        Child::Actor(&FOLLOW_STREAM),
        Child::Actor(&LOG_STREAM),
        Child::Actor(&SEGMENT_STREAM),
        Child::Actor(&VERIFY_STREAM),
        Child::Actor(&LOAD_STREAM),
        Child::Actor(&RESTORE_STREAM),
        Child::Actor(&EXCISE_STREAM),
        Child::Group(&METRICS_GROUP),
    ],
};

pub static WRITER: Actor = Actor {
    name: "writer",
    runs: Runs::Stage { stack_bytes: WRITER_STACK_BYTES },
    panics: Panics::EndProcess,
    ends: Ends::WhenDone,
    effect: "what it was writing may be in the log or not, and only the log tells: the process ends, and the next one \
             reads the log",
};

pub static CREATOR: Actor = Actor {
    name: "creator",
    runs: Runs::Stage { stack_bytes: CREATOR_STACK_BYTES },
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again; a creation that was cut off is finished or cleared as when a store is opened, its caller \
             hears `unknown`, those who wait have their turn",
};

pub static TERM_WATCH: Actor = Actor {
    name: "term-watch",
    runs: Runs::Task,
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again; a database that was taken over meanwhile is closed a moment later, or when it is next \
             written to",
};

pub static INDEXER: Actor = Actor {
    name: "indexer",
    runs: Runs::Stage { stack_bytes: CREATOR_STACK_BYTES },
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again, and the job with it; the old index stays until the new one is named, and what the job left \
             behind is garbage",
};

pub static COLLECTOR: Actor = Actor {
    name: "collector",
    runs: Runs::Stage { stack_bytes: CREATOR_STACK_BYTES },
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again; what it had deleted was garbage, the rest is the next collection's, and who asked hears that \
             it was cut off",
};

pub static ERASER: Actor = Actor {
    name: "eraser",
    runs: Runs::Stage { stack_bytes: CREATOR_STACK_BYTES },
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again; an erasure whose record was not written is void and who asked hears so, one whose record was \
             written is finished first",
};

pub static FOLLOW_PACE: Actor = Actor {
    name: "follow-pace",
    runs: Runs::Task,
    panics: Panics::Restart,
    ends: Ends::WhenDone,
    effect: "started again, and wakes every follower at once; meanwhile many followers hear nothing new, and commits go \
             on",
};

pub static FOLLOW_STREAM: Actor = Actor {
    name: "follow-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the stream ends with an error; the peer follows again from what it has",
};

pub static LOG_STREAM: Actor = Actor {
    name: "log-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the stream ends with an error; the peer reads again from what it has",
};

pub static SEGMENT_STREAM: Actor = Actor {
    name: "segment-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the stream ends with an error; the peer reads again",
};

pub static VERIFY_STREAM: Actor = Actor {
    name: "verify-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the stream ends with an error, never as if all had been verified; whoever asked asks again",
};

pub static LOAD_STREAM: Actor = Actor {
    name: "load-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the load is cut off behind one of its transactions; whoever loads asks how far it is, and goes on there",
};

pub static RESTORE_STREAM: Actor = Actor {
    name: "restore-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the stream ends with an error, and no database is there; whoever asked asks again",
};

pub static EXCISE_STREAM: Actor = Actor {
    name: "excise-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the stream ends with an error, and the erasure goes on; to ask again tells what is left of it",
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_sound() {
        assert_eq!(super::TREE.fault(), None);
    }
}
