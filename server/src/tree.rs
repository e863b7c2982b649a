//! The actors of a storage process, and what a failure of each leads to.

use process::http::METRICS_GROUP;
use process::supervisor::{Actor, Child, Ends, Group, Panics, Runs, Spent, Strategy};

pub static TREE: Group = Group {
    name: "storage",
    strategy: Strategy::OneForOne,
    spent: Spent::Escalate,
    children: &[
        Child::Actor(&STORE_WATCH),
        Child::Actor(&LOG_STREAM),
        Child::Actor(&SEGMENT_STREAM),
        Child::Group(&METRICS_GROUP),
    ],
};

pub static STORE_WATCH: Actor = Actor {
    name: "store-watch",
    runs: Runs::Task,
    panics: Panics::Restart,
    ends: Ends::WhenDone,
    effect: "started again; a store that has failed meanwhile ends the process then",
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
    effect: "the stream ends with an error; who asked reads again",
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_sound() {
        assert_eq!(super::TREE.fault(), None);
    }
}
