//! The actors of a peer, and what a failure of each leads to. A peer holds nothing that storage does not, so that
//! each may be started again.

use process::http::METRICS_GROUP;
use process::supervisor::{Actor, Child, Ends, Group, Panics, Runs, Spent, Strategy};

/// Queries nest (rules, negation, pulls) on their stage's stack.
const COMPUTE_STACK_BYTES: usize = 16 << 20;
const PREFETCH_STACK_BYTES: usize = 2 << 20;

pub static TREE: Group = Group {
    name: "peer",
    strategy: Strategy::OneForOne,
    spent: Spent::Escalate,
    children: &[
        Child::Actor(&DISCOVERY),
        Child::Actor(&FOLLOWER),
        Child::Actor(&READINESS),
        Child::Actor(&COMPUTE),
        Child::Actor(&PREFETCH),
        Child::Actor(&LOG_STREAM),
        Child::Actor(&DATOMS_STREAM),
        Child::Actor(&REPORTS_STREAM),
        Child::Group(&METRICS_GROUP),
    ],
};

pub static DISCOVERY: Actor = Actor {
    name: "discovery",
    runs: Runs::Task,
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again; asks the transactor for its databases once more",
};

pub static FOLLOWER: Actor = Actor {
    name: "follower",
    runs: Runs::Task,
    panics: Panics::Restart,
    ends: Ends::WhenDone,
    effect: "started again from the last value it published; questions are answered at that meanwhile",
};

pub static READINESS: Actor = Actor {
    name: "readiness",
    runs: Runs::Task,
    panics: Panics::Restart,
    ends: Ends::WhenDone,
    effect: "started again; health says NOT_SERVING until it has looked at every database once more",
};

pub static COMPUTE: Actor = Actor {
    name: "compute",
    runs: Runs::Stage { stack_bytes: COMPUTE_STACK_BYTES },
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again; the question it had taken is `unavailable`, those that wait have their turn",
};

pub static PREFETCH: Actor = Actor {
    name: "prefetch",
    runs: Runs::Stage { stack_bytes: PREFETCH_STACK_BYTES },
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "started again; a segment that it was fetching ahead of a scan is fetched when the scan comes to it",
};

pub static LOG_STREAM: Actor = Actor {
    name: "log-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the answer ends with an error, never as if it were whole; the caller may ask again",
};

pub static DATOMS_STREAM: Actor = Actor {
    name: "datoms-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the answer ends with an error, never as if it were whole; the caller may go on after its last datom",
};

pub static REPORTS_STREAM: Actor = Actor {
    name: "reports-stream",
    runs: Runs::Task,
    panics: Panics::FailCall,
    ends: Ends::WhenDone,
    effect: "the stream ends with an error; the caller goes on, here or at another peer, from the t it has",
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_sound() {
        assert_eq!(super::TREE.fault(), None);
    }
}
