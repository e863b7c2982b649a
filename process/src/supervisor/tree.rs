//! A process's supervision tree, written as data: which actors there are, where each runs, and what its failure leads
//! to. An actor that is not in its process's tree cannot be started.

use std::time::Duration;

/// An actor as its process's tree names it. There may be many of it: a writer for each database.
#[derive(Debug)]
pub struct Actor {
    pub name: &'static str,
    pub runs: Runs,
    pub panics: Panics,
    pub ends: Ends,
    /// What its failure leads to, for the operator.
    pub effect: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    Task,
    /// On a thread of its own in production; its stack is chosen by the depth of what runs on it.
    Stage {
        stack_bytes: usize,
    },
}

/// What a panic leads to, or an end that was not asked for.
///
/// An error that an actor *returns* is its word that the process must not go on, whatever stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panics {
    /// It is started again, its state from what is durable or published, its mailbox kept.
    Restart,
    /// Going on could lose data.
    EndProcess,
    /// It served one call, whose caller hears of it and may call again.
    FailCall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Only when the process stops.
    Never,
    /// When its work is done: its database is gone, its caller has everything.
    WhenDone,
}

/// Actors that are supervised together. Their order is that in which they depend on each other.
#[derive(Debug)]
pub struct Group {
    pub name: &'static str,
    pub strategy: Strategy,
    pub spent: Spent,
    pub children: &'static [Child],
}

#[derive(Debug)]
pub enum Child {
    Actor(&'static Actor),
    Group(&'static Group),
}

/// Who is started again when one child fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    OneForOne,
    OneForAll,
    /// The one that failed, and those after it.
    RestForOne,
}

/// What follows when a group has used up its restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// The group stays down and the process goes on without it.
    Stop,
    /// The group that it is in decides; above the first group there is the end of the process.
    Escalate,
}

/// So many restarts of a group within so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restarts {
    pub max: u32,
    pub within: Duration,
}

impl Default for Restarts {
    fn default() -> Self {
        Restarts { max: 3, within: Duration::from_secs(60) }
    }
}

/// How often a process starts its actors again.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct RestartOptions {
    /// Failures of parts of the process that are mended by starting them again, within --restart-seconds; one more ends
    /// the process.
    #[arg(long = "restarts", env = "DIACHRON_RESTARTS", value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub restarts_max: u32,

    /// The time in which --restarts are counted.
    #[arg(long, env = "DIACHRON_RESTART_SECONDS", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub restart_seconds: u64,
}

impl RestartOptions {
    pub fn limits(self) -> Restarts {
        Restarts { max: self.restarts_max, within: Duration::from_secs(self.restart_seconds) }
    }
}

impl Group {
    /// All actors of the tree, in order.
    pub fn actors(&'static self) -> Vec<&'static Actor> {
        let of = |child: &Child| match child {
            Child::Actor(actor) => vec![*actor],
            Child::Group(group) => group.actors(),
        };
        self.children.iter().flat_map(of).collect()
    }

    /// Where an actor stands: which child it is of each group on the way down to it.
    pub(super) fn place_of(&'static self, name: &str) -> Option<Vec<usize>> {
        self.children.iter().enumerate().find_map(|(number, child)| match child {
            Child::Actor(actor) => (actor.name == name).then(|| vec![number]),
            Child::Group(group) => {
                let below = group.place_of(name)?;
                Some([vec![number], below].concat())
            }
        })
    }

    /// The group that a place leads to.
    pub(super) fn at(&'static self, place: &[usize]) -> &'static Group {
        match place.split_first() {
            None => self,
            Some((number, rest)) => match &self.children[*number] {
                Child::Group(group) => group.at(rest),
                Child::Actor(actor) => unreachable!("{} is no group", actor.name),
            },
        }
    }

    /// What is wrong with a tree, if anything: a name twice, or one that cannot be started again where it must be.
    pub fn fault(&'static self) -> Option<String> {
        let actors = self.actors();
        for (number, actor) in actors.iter().enumerate() {
            if actors[..number].iter().any(|before| before.name == actor.name) {
                return Some(format!("{} is in the tree twice", actor.name));
            }
        }
        self.unrestartable(true)
    }

    fn unrestartable(&'static self, root: bool) -> Option<String> {
        self.children.iter().find_map(|child| match child {
            Child::Group(group) => group.unrestartable(false),
            Child::Actor(actor) if actor.panics == Panics::Restart => None,
            Child::Actor(_) if root && self.strategy == Strategy::OneForOne => None,
            Child::Actor(actor) => {
                Some(format!("{} cannot be started again with the rest of {}", actor.name, self.name))
            }
        })
    }
}
