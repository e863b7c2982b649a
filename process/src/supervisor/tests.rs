//! Trees of actors that panic when a test says so.

use super::*;
use crate::{Inbox, Mailbox, ManualClock, ShutdownTrigger};
use db::Instant;
use std::sync::atomic::{AtomicUsize, Ordering};

const fn actor(name: &'static str, panics: Panics) -> Actor {
    Actor { name, runs: Runs::Task, panics, ends: Ends::Never, effect: "" }
}

static A: Actor = actor("a", Panics::Restart);
static B: Actor = actor("b", Panics::Restart);
static C: Actor = actor("c", Panics::Restart);
static STAGE: Actor = Actor {
    name: "stage",
    runs: Runs::Stage { stack_bytes: 1 << 20 },
    panics: Panics::Restart,
    ends: Ends::Never,
    effect: "",
};
static WRITER: Actor = actor("writer", Panics::EndProcess);
static PASSING: Actor =
    Actor { name: "passing", runs: Runs::Task, panics: Panics::Restart, ends: Ends::WhenDone, effect: "" };
static CALL: Actor =
    Actor { name: "call", runs: Runs::Task, panics: Panics::FailCall, ends: Ends::WhenDone, effect: "" };
static STRANGER: Actor = actor("stranger", Panics::Restart);

static ABC: [Child; 3] = [Child::Actor(&A), Child::Actor(&B), Child::Actor(&C)];

static FOR_ONE: Group = Group {
    name: "process",
    strategy: Strategy::OneForOne,
    spent: Spent::Escalate,
    children: &[
        Child::Actor(&A),
        Child::Actor(&B),
        Child::Actor(&C),
        Child::Actor(&STAGE),
        Child::Actor(&WRITER),
        Child::Actor(&PASSING),
        Child::Actor(&CALL),
    ],
};
static FOR_ALL: Group =
    Group { name: "process", strategy: Strategy::OneForAll, spent: Spent::Escalate, children: &ABC };
static FOR_REST: Group =
    Group { name: "process", strategy: Strategy::RestForOne, spent: Spent::Escalate, children: &ABC };

/// A process of actors that count their starts and panic when they are told to.
struct Process {
    crew: Crew,
    supervisor: Supervisor,
    clock: Arc<ManualClock>,
    trigger: ShutdownTrigger,
}

struct Puppet {
    id: ActorId,
    starts: Arc<AtomicUsize>,
    mailbox: Mailbox<Order>,
}

enum Order {
    Panic,
    Return(Result<()>),
    Tell(oneshot::Sender<usize>),
}

impl Process {
    fn new(tree: &'static Group) -> Process {
        assert_eq!(tree.fault(), None);
        let clock = Arc::new(ManualClock::at(Instant(0)));
        let world = World { clock: clock.clone(), ..World::system().unwrap() };
        let (trigger, shutdown) = Shutdown::new();
        let (crew, supervisor) = Crew::new(tree, Restarts::default(), &world, shutdown);
        Process { crew, supervisor, clock, trigger }
    }

    fn start(&self, actor: &'static Actor) -> Puppet {
        let (mailbox, receiver) = Mailbox::new(8);
        let (inbox, starts) = (Inbox::new(receiver), Arc::new(AtomicUsize::new(0)));
        let counted = starts.clone();
        let id = self.crew.start(actor, "", move |_| {
            let (inbox, start) = (inbox.clone(), counted.fetch_add(1, Ordering::SeqCst) + 1);
            async move {
                let mut orders = inbox.open().await;
                while let Some(order) = orders.recv().await {
                    match order {
                        Order::Panic => panic!("on purpose"),
                        Order::Return(outcome) => return outcome,
                        Order::Tell(reply) => drop(reply.send(start)),
                    }
                }
                Ok(())
            }
        });
        Puppet { id: id.unwrap(), starts, mailbox }
    }

    /// Lets the supervisor work until something holds, or the process ends.
    async fn until(&mut self, holds: impl Fn() -> bool) -> Option<Failure> {
        let held = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            failure = self.supervisor.run() => Some(failure),
            () = held => None,
        }
    }

    async fn end(&mut self) -> Failure {
        self.supervisor.run().await
    }
}

impl Puppet {
    fn order(&self, order: Order) {
        self.mailbox.tell(order).unwrap();
    }

    fn starts(&self) -> usize {
        self.starts.load(Ordering::SeqCst)
    }

    /// Which start of it answers.
    fn ask(&self) -> oneshot::Receiver<usize> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Tell(reply));
        answer
    }
}

#[tokio::test]
async fn one_that_panics_is_started_again_and_what_waits_for_it_is_answered() {
    for actor in [&A, &STAGE] {
        let mut process = Process::new(&FOR_ONE);
        let (puppet, other) = (process.start(actor), process.start(&B));
        puppet.order(Order::Panic);
        let mut answer = puppet.ask();
        assert_eq!(process.until(|| puppet.starts() == 2).await, None);
        let answered = tokio::select! {
            failure = process.end() => panic!("{failure}"),
            answered = &mut answer => answered,
        };
        assert_eq!(answered, Ok(2));
        assert_eq!(other.starts(), 1);
    }
}

#[tokio::test]
async fn a_group_starts_again_whom_its_strategy_names() {
    for (tree, expected) in [(&FOR_ONE, [1, 2, 1]), (&FOR_ALL, [2, 2, 2]), (&FOR_REST, [1, 2, 2])] {
        let mut process = Process::new(tree);
        let puppets = [&A, &B, &C].map(|actor| process.start(actor));
        puppets[1].order(Order::Panic);
        let starts = || [0, 1, 2].map(|n| puppets[n].starts());
        assert_eq!(process.until(|| starts() == expected).await, None, "{:?}", tree.strategy);
        // Each of them works.
        for (puppet, starts) in puppets.iter().zip(expected) {
            let answer = puppet.ask();
            let answered = tokio::select! {
                failure = process.end() => panic!("{failure}"),
                answered = answer => answered,
            };
            assert_eq!(answered, Ok(starts));
        }
    }
}

#[tokio::test]
async fn a_fourth_panic_within_a_minute_ends_the_process_and_a_later_one_does_not() {
    let mut process = Process::new(&FOR_ONE);
    let (one, other) = (process.start(&A), process.start(&B));
    for round in 0..3 {
        process.clock.advance(Duration::from_secs(61));
        for (number, puppet) in [&one, &other, &one].into_iter().enumerate() {
            let starts = puppet.starts();
            puppet.order(Order::Panic);
            assert_eq!(process.until(|| puppet.starts() == starts + 1).await, None, "panic {number} of round {round}");
        }
    }
    process.clock.advance(Duration::from_secs(59));
    other.order(Order::Panic);
    let failure = process.end().await.0;
    assert!(failure.starts_with("b ended: it panicked: on purpose; it was started again 3 times"), "{failure}");
}

static INNER: Group = Group { name: "inner", strategy: Strategy::OneForOne, spent: Spent::Escalate, children: &ABC };
static NESTED: Group = Group {
    name: "process",
    strategy: Strategy::OneForOne,
    spent: Spent::Escalate,
    children: &[Child::Group(&INNER), Child::Actor(&STAGE)],
};

#[tokio::test]
async fn a_group_that_has_used_up_its_restarts_is_started_again_as_a_whole_by_the_one_above() {
    let mut process = Process::new(&NESTED);
    let (one, other, outside) = (process.start(&A), process.start(&B), process.start(&STAGE));
    for whole in 1..=4 {
        for _ in 0..3 {
            let starts = one.starts();
            one.order(Order::Panic);
            assert_eq!(process.until(|| one.starts() == starts + 1).await, None);
            assert_eq!(other.starts(), whole);
        }
        one.order(Order::Panic);
        if whole < 4 {
            assert_eq!(process.until(|| other.starts() == whole + 1).await, None);
        }
    }
    assert!(process.end().await.0.contains("a ended"));
    assert_eq!(outside.starts(), 1);
}

static OPTIONAL: Group = Group { name: "optional", strategy: Strategy::OneForOne, spent: Spent::Stop, children: &ABC };
static WITH_OPTIONAL: Group = Group {
    name: "process",
    strategy: Strategy::OneForOne,
    spent: Spent::Escalate,
    children: &[Child::Group(&OPTIONAL), Child::Actor(&STAGE)],
};

#[tokio::test]
async fn a_group_that_the_process_can_do_without_stays_down() {
    let mut process = Process::new(&WITH_OPTIONAL);
    let (one, _other, needed) = (process.start(&A), process.start(&B), process.start(&STAGE));
    for starts in 2..=4 {
        one.order(Order::Panic);
        assert_eq!(process.until(|| one.starts() == starts).await, None);
    }
    one.order(Order::Panic);
    let crew = process.crew.clone();
    assert_eq!(process.until(|| crew.len() == 1).await, None);
    needed.order(Order::Panic);
    assert_eq!(process.until(|| needed.starts() == 2).await, None);
}

#[tokio::test]
async fn an_end_that_could_lose_data_ends_the_process_and_so_does_an_error() {
    let mut process = Process::new(&FOR_ONE);
    process.start(&WRITER).order(Order::Panic);
    assert_eq!(process.end().await.0, "writer ended: it panicked: on purpose");
    process.start(&WRITER).order(Order::Return(Ok(())));
    assert_eq!(process.end().await.0, "writer ended: it returned");
    // Whoever says that the process must not go on is believed.
    process.start(&A).order(Order::Return(Err(Failure::new("the disk is full"))));
    assert_eq!(process.end().await.0, "a ended: the disk is full");
}

#[tokio::test]
async fn an_actor_that_is_done_or_not_wanted_any_more_is_no_news() {
    let mut process = Process::new(&FOR_ONE);
    let (done, unwanted) = (process.start(&PASSING), process.start(&A));
    assert_eq!(process.crew.len(), 2);
    done.order(Order::Return(Ok(())));
    process.crew.stop(unwanted.id);
    let crew = process.crew.clone();
    assert_eq!(process.until(|| crew.is_empty()).await, None);
    // Nobody is there to hear.
    assert_eq!(unwanted.mailbox.tell(Order::Panic), Err(crate::mailbox::Refused::Gone));
    assert_eq!((done.starts(), unwanted.starts()), (1, 1));
}

#[tokio::test]
async fn while_the_process_stops_only_what_could_lose_data_is_news() {
    let mut process = Process::new(&FOR_ONE);
    let (returns, panics, fails) = (process.start(&A), process.start(&B), process.start(&WRITER));
    process.trigger.ask();
    returns.order(Order::Return(Ok(())));
    panics.order(Order::Panic);
    fails.order(Order::Return(Err(Failure::new("lost data"))));
    assert_eq!(process.end().await.0, "writer ended: lost data");
    let _ = process.until(|| panics.starts() == 1).await;
    assert_eq!((returns.starts(), panics.starts()), (1, 1));
    process.start(&WRITER).order(Order::Panic);
    assert_eq!(process.end().await.0, "writer ended: it panicked: on purpose");
}

#[tokio::test]
async fn what_fails_last_is_heard_of_when_all_have_ended() {
    let mut process = Process::new(&FOR_ONE);
    let (stage, quiet) = (process.start(&STAGE), process.start(&STAGE));
    process.trigger.ask();
    quiet.order(Order::Return(Ok(())));
    stage.order(Order::Return(Err(Failure::new("the disk is full"))));
    process.crew.stages_ended().await;
    assert_eq!(process.supervisor.last_words(), Err(Failure::new("stage ended: the disk is full")));
    assert_eq!(process.supervisor.last_words(), Ok(()));
}

#[tokio::test]
async fn a_stream_whose_feed_panics_ends_with_an_error() {
    use tokio_stream::StreamExt;
    let process = Process::new(&FOR_ONE);
    let mut broken = process.crew.stream::<u32, _>(&CALL, |feed, _| async move {
        feed.send(Ok(1)).await.unwrap();
        panic!("on purpose");
    });
    assert_eq!(broken.next().await.unwrap().unwrap(), 1);
    assert_eq!(broken.next().await.unwrap().unwrap_err().code(), tonic::Code::Internal);
    assert!(broken.next().await.is_none());
    let mut whole = process.crew.stream::<u32, _>(&CALL, |feed, _| async move { feed.send(Ok(1)).await.unwrap() });
    assert_eq!(whole.next().await.unwrap().unwrap(), 1);
    assert!(whole.next().await.is_none());
}

#[tokio::test]
async fn what_is_not_in_the_tree_cannot_be_started() {
    let process = Process::new(&FOR_ONE);
    let refused = process.crew.start(&STRANGER, "", |_| async { Ok(()) }).unwrap_err();
    assert!(refused.0.contains("stranger is not in the tree"), "{refused}");
}

#[tokio::test]
async fn stages_are_waited_for() {
    let process = Process::new(&FOR_ONE);
    let stage = process.start(&STAGE);
    process.trigger.ask();
    let ended = process.crew.stages_ended();
    let Puppet { mailbox, .. } = stage;
    // What it still has to do it does.
    let (reply, answer) = oneshot::channel();
    mailbox.tell(Order::Tell(reply)).unwrap();
    drop(mailbox);
    ended.await;
    assert_eq!(answer.await, Ok(1));
}

static TWICE: Group = Group {
    name: "process",
    strategy: Strategy::OneForOne,
    spent: Spent::Escalate,
    children: &[Child::Actor(&A), Child::Actor(&A)],
};
static STUCK: Group = Group {
    name: "process",
    strategy: Strategy::OneForAll,
    spent: Spent::Escalate,
    children: &[Child::Actor(&A), Child::Actor(&WRITER)],
};

#[test]
fn a_tree_that_could_not_do_what_it_says_is_told() {
    assert_eq!(TWICE.fault().unwrap(), "a is in the tree twice");
    assert_eq!(STUCK.fault().unwrap(), "writer cannot be started again with the rest of process");
}
