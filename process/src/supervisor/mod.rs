//! The actors of a process, their owner, and what their failures lead to.
//!
//! A process says in a [`Group`] which actors it has. They are started through the [`Crew`], which refuses others; the
//! [`Supervisor`] hears of every end. One that nobody asked for is mended by a restart where that loses nothing, at
//! most so often in so long ([`Restarts`]); beyond that, or where going on could lose data, it is the end of the
//! process, which then says which actor it was and why.
//!
//! What an actor was in the middle of when it panicked is gone, and whoever waits for it hears so; what waits in its
//! mailbox stays there for its successor ([`crate::mailbox::Inbox`]).
//!
//! To add an actor: a `static` [`Actor`] in its process's `src/tree.rs`, in the tree's children; [`Crew::start`] with a
//! closure that makes it anew, or [`Crew::stream`] for the stream of one call; [`Failpoint::pass`] at the top of its
//! step; its row in docs/operations.md and its story in `tests/it/supervision.rs`, both of which tests ask for. Work
//! that blocks goes through [`Executor::blocking`]; nothing is spawned otherwise.

mod failpoint;
mod tree;

pub use failpoint::{FAILPOINTS_VARIABLE, Failpoint, Failpoints};
pub use tree::{Actor, Child, Ends, Group, Panics, RestartOptions, Restarts, Runs, Spent, Strategy};

use crate::metrics::Readings;
use crate::stream::{Feed, OUTGOING_MAX, Streams};
use crate::{Clock, Executor, Failure, Outgoing, Result, Shutdown, World, correlation, log};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Actors that a process has at once, those of single calls not counted.
const ACTORS_MAX: usize = 1 << 16;
/// How long an actor that is to be started again with others may take to end its step.
const STEP_MAX: Duration = Duration::from_secs(10);

/// Starts actors. Cheap to clone.
#[derive(Clone)]
pub struct Crew {
    tree: &'static Group,
    executor: Executor,
    failpoints: Failpoints,
    shutdown: Shutdown,
    members: Arc<Mutex<Members>>,
    /// Room for the end of every actor there may be, so that none goes unheard.
    ended: mpsc::Sender<Ended>,
    /// Stages that have not ended.
    stages: watch::Sender<usize>,
    streams: Streams,
}

/// Hears of ends, and decides what they lead to.
pub struct Supervisor {
    crew: Crew,
    ended: mpsc::Receiver<Ended>,
    /// Ends that came while others were waited for.
    unsettled: VecDeque<Ended>,
    restarts: Restarts,
    clock: Arc<dyn Clock>,
    /// When each group, by its place, was started again.
    restarted: BTreeMap<Vec<usize>, VecDeque<Duration>>,
}

/// An actor that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActorId(u64);

#[derive(Default)]
struct Members {
    next_id: u64,
    by_id: BTreeMap<ActorId, Member>,
}

struct Member {
    actor: &'static Actor,
    /// The actor's, with whose it is.
    name: String,
    place: Vec<usize>,
    make: Make,
    /// Ends it where it waits; taken when used.
    cancel: Option<oneshot::Sender<()>>,
    /// Nobody wants it any more.
    stopped: bool,
}

type Run = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
type Make = Box<dyn FnMut() -> Run + Send>;

struct Ended {
    id: ActorId,
    how: How,
}

enum How {
    Cancelled,
    Returned(Result<()>),
    Panicked(String),
}

/// For an actor that is never started again: what it is made of may be given away.
pub fn once<T>(make: impl FnOnce(Failpoint) -> T) -> impl FnMut(Failpoint) -> T {
    let mut make = Some(make);
    move |point| make.take().expect("an actor whose panic ends the process is started once")(point)
}

impl Crew {
    /// The crew of a process, and its supervisor, which must be run for anything to be mended.
    pub fn new(tree: &'static Group, restarts: Restarts, world: &World, shutdown: Shutdown) -> (Crew, Supervisor) {
        let (ended, receiver) = mpsc::channel(ACTORS_MAX);
        let crew = Crew {
            tree,
            executor: world.executor,
            failpoints: world.failpoints.clone(),
            shutdown,
            members: Arc::default(),
            ended,
            stages: watch::Sender::new(0),
            streams: Streams::default(),
        };
        let supervisor = Supervisor {
            crew: crew.clone(),
            ended: receiver,
            unsettled: VecDeque::new(),
            restarts,
            clock: world.clock.clone(),
            restarted: BTreeMap::new(),
        };
        (crew, supervisor)
    }

    pub fn executor(&self) -> Executor {
        self.executor
    }

    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts an actor of the tree; `whose` tells it from others of its kind. `make` is called again for each restart;
    /// the actor passes its failpoint at the top of every step.
    pub fn start<F>(
        &self,
        actor: &'static Actor,
        whose: &str,
        mut make: impl FnMut(Failpoint) -> F + Send + 'static,
    ) -> Result<ActorId>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let point = self.failpoints.at(actor.name);
        let mut make: Make = Box::new(move || Box::pin(make(point.clone())) as Run);
        let place = self.place_of(actor)?;
        let name = if whose.is_empty() { actor.name.to_owned() } else { format!("{} {whose}", actor.name) };
        let run = make();
        let mut members = self.members();
        if members.by_id.len() >= ACTORS_MAX {
            return Err(Failure::new(format!(
                "cannot start {name}: {ACTORS_MAX} actors run already, which is the most"
            )));
        }
        members.next_id += 1;
        let id = ActorId(members.next_id);
        let cancel = Some(self.launch(id, actor, &name, run)?);
        members.by_id.insert(id, Member { actor, name, place, make, cancel, stopped: false });
        Ok(id)
    }

    /// Ends an actor that is not needed any more, where it waits next.
    pub fn stop(&self, id: ActorId) {
        if let Some(member) = self.members().by_id.get_mut(&id) {
            member.stopped = true;
            member.cancel();
        }
    }

    /// Runs an actor that serves one call. If it panics, its caller hears of a fault, not of an end.
    pub fn stream<T: Send + 'static, F>(
        &self,
        actor: &'static Actor,
        feed: impl FnOnce(Feed<T>, Failpoint) -> F,
    ) -> Outgoing<T>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        debug_assert!(self.place_of(actor).is_ok() && actor.panics == Panics::FailCall);
        let (sender, outgoing, broke) = Outgoing::new();
        let last = sender.clone();
        let listed = self.streams.add(actor.name, &sender);
        let run = feed(sender, self.failpoints.at(actor.name));
        self.executor.task(correlation::carried(async move {
            if let Err(panic) = caught(run).await {
                log::error!(actor = actor.name, panic, "a call failed");
                broke.tell();
            }
            drop((listed, last));
        }));
        outgoing
    }

    /// Returns when all stages have ended, and with them what they held; they end when their mailboxes are closed.
    pub async fn stages_ended(&self) {
        // The sender is ours.
        let _ = self.stages.subscribe().wait_for(|running| *running == 0).await;
    }

    /// Lets go of what actors would be started again from, when the process ends.
    pub fn dismiss(&self) {
        let members = std::mem::take(&mut self.members().by_id);
        drop(members);
    }

    /// How many actors there are now.
    pub fn len(&self) -> usize {
        self.members().by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows how full the crew's queues are.
    pub(crate) fn show(&self, readings: &mut Readings<'_>) {
        readings.gauge("actors", "Actors that run, for the end of each of which there is a place", self.len() as u64);
        readings.gauge("actors_max", "Actors that may run", ACTORS_MAX as u64);
        let streams = || self.tree.actors().into_iter().filter(|actor| actor.panics == Panics::FailCall);
        readings.gauges("stream_queue_messages", "Messages ready on the fullest stream of an actor", |one| {
            streams().for_each(|actor| one(&[("actor", actor.name)], self.streams.fullest(actor.name) as f64));
        });
        readings.gauges("stream_queue_messages_max", "Messages that may be ready on a stream", |one| {
            streams().for_each(|actor| one(&[("actor", actor.name)], OUTGOING_MAX as f64));
        });
    }

    fn place_of(&self, actor: &'static Actor) -> Result<Vec<usize>> {
        let place = self.tree.place_of(actor.name);
        place.ok_or_else(|| Failure::new(format!("{} is not in the tree of {}", actor.name, self.tree.name)))
    }

    fn launch(&self, id: ActorId, actor: &Actor, name: &str, run: Run) -> Result<oneshot::Sender<()>> {
        let (cancel, cancelled) = oneshot::channel();
        let ended = self.ended.clone();
        let running = matches!(actor.runs, Runs::Stage { .. }).then(|| Running::new(&self.stages));
        let whole = async move {
            let how = until_cancelled(run, cancelled).await;
            // What it held is gone before anybody hears of its end. There is room, see `ended`; and nobody listens any
            // more when the process has ended.
            let _ = ended.try_send(Ended { id, how });
            drop(running);
        };
        match actor.runs {
            Runs::Task => drop(self.executor.task(whole)),
            Runs::Stage { stack_bytes } => self.executor.stage(name, stack_bytes, whole)?,
        }
        Ok(cancel)
    }

    // Held to look up, add or remove one; never while anything of an actor's runs.
    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Member {
    fn cancel(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            // It may have ended by itself.
            let _ = cancel.send(());
        }
    }
}

/// What an end leads to.
enum Verdict {
    Nothing,
    /// These are started again, in this order.
    Restart(Vec<ActorId>),
    /// These are stopped for good.
    Stop(Vec<ActorId>),
    EndProcess(Failure),
}

impl Supervisor {
    /// Mends what can be mended; returns when the process must end, with why.
    pub async fn run(&mut self) -> Failure {
        loop {
            let ended = match self.unsettled.pop_front() {
                Some(ended) => ended,
                // The crew is ours, so that the channel stays open.
                None => match self.ended.recv().await {
                    Some(ended) => ended,
                    None => std::future::pending().await,
                },
            };
            let id = ended.id;
            match self.judge(ended) {
                Verdict::Nothing => {}
                Verdict::EndProcess(failure) => return failure,
                Verdict::Stop(ids) => {
                    for id in &ids {
                        self.crew.stop(*id);
                    }
                    self.crew.members().by_id.remove(&id);
                }
                Verdict::Restart(ids) => {
                    if let Err(failure) = self.start_again(id, ids).await {
                        return failure;
                    }
                }
            }
        }
    }

    /// What is left to be said when the process has stopped: an error if something failed on the way.
    pub fn last_words(&mut self) -> Result<()> {
        while let Some(ended) = self.unsettled.pop_front().or_else(|| self.ended.try_recv().ok()) {
            if let Verdict::EndProcess(failure) = self.judge(ended) {
                return Err(failure);
            }
        }
        Ok(())
    }

    fn judge(&mut self, ended: Ended) -> Verdict {
        let mut members = self.crew.members();
        let Some(member) = members.by_id.get(&ended.id) else { return Verdict::Nothing };
        let name = member.name.clone();
        let how = match ended.how {
            How::Returned(Err(failure)) => return Verdict::EndProcess(Failure(format!("{name} ended: {failure}"))),
            How::Cancelled => None,
            How::Returned(Ok(())) if member.actor.ends == Ends::WhenDone => None,
            // One whose panic could lose data is heard of to the last.
            How::Panicked(text) if member.actor.panics == Panics::EndProcess => Some(format!("it panicked: {text}")),
            // Others that end while the process stops, or when they were to stop, are no news.
            _ if member.stopped || self.crew.shutdown.is_asked() => None,
            How::Returned(Ok(())) => Some("it returned".to_owned()),
            How::Panicked(text) => Some(format!("it panicked: {text}")),
        };
        let Some(how) = how else {
            members.by_id.remove(&ended.id);
            return Verdict::Nothing;
        };
        let (place, panics) = (member.place.clone(), member.actor.panics);
        drop(members);
        match panics {
            Panics::Restart => self.mend(ended.id, &place, &name, &how),
            Panics::EndProcess | Panics::FailCall => Verdict::EndProcess(Failure(format!("{name} ended: {how}"))),
        }
    }

    /// Looks for a group, from the actor's own upwards, that may still restart.
    fn mend(&mut self, id: ActorId, place: &[usize], name: &str, how: &str) -> Verdict {
        let now = self.clock.since_boot();
        let Restarts { max, within } = self.restarts;
        for depth in (0..place.len()).rev() {
            let group = self.crew.tree.at(&place[..depth]);
            let recent = self.restarted.entry(place[..depth].to_vec()).or_default();
            recent.retain(|at| now.saturating_sub(*at) < within);
            if recent.len() < max as usize {
                recent.push_back(now);
                let restarts = recent.len();
                log::error!(actor = name, how, restarts, max, within_s = within.as_secs(), "an actor is started again");
                // Below this group, all of the child that failed.
                let unit = if depth + 1 == place.len() { None } else { Some(&place[..=depth]) };
                if let Some(unit) = unit {
                    // What is started as a whole begins anew.
                    self.restarted.retain(|group, _| !group.starts_with(unit));
                }
                return Verdict::Restart(self.affected(group.strategy, &place[..depth], (place, id), unit));
            }
            if group.spent == Spent::Stop {
                log::error!(actor = name, how, group = group.name, max, "actors stay down after too many restarts");
                return Verdict::Stop(self.affected(Strategy::OneForAll, &place[..depth], (place, id), None));
            }
        }
        Verdict::EndProcess(Failure(format!(
            "{name} ended: {how}; it was started again {max} times within {within:?} already"
        )))
    }

    /// The actors that a strategy starts again within a group, in their order.
    fn affected(
        &self,
        strategy: Strategy,
        group: &[usize],
        failed: (&[usize], ActorId),
        unit: Option<&[usize]>,
    ) -> Vec<ActorId> {
        let members = self.crew.members();
        // A group that failed stands before all that is in it.
        let first = unit.map_or(failed, |unit| (unit, ActorId(0)));
        let is_affected = |place: &[usize], id: ActorId| match (strategy, unit) {
            (Strategy::OneForOne, None) => id == failed.1,
            (Strategy::OneForOne, Some(unit)) => place.starts_with(unit),
            (Strategy::OneForAll, _) => place.starts_with(group),
            (Strategy::RestForOne, _) => place.starts_with(group) && (place, id) >= first,
        };
        let mut affected: Vec<(&[usize], ActorId)> = members
            .by_id
            .iter()
            .map(|(id, member)| (&member.place[..], *id))
            .filter(|(place, id)| is_affected(place, *id))
            .collect();
        affected.sort();
        affected.into_iter().map(|(_, id)| id).collect()
    }

    /// Ends all that are to be started again, last first, and starts them, first first.
    async fn start_again(&mut self, failed: ActorId, ids: Vec<ActorId>) -> Result<()> {
        let mut waiting: Vec<ActorId> = ids.iter().copied().filter(|id| *id != failed).collect();
        // Some may have ended by themselves meanwhile.
        let gone = |unsettled: &VecDeque<Ended>, id: ActorId| unsettled.iter().any(|ended| ended.id == id);
        waiting.retain(|id| !gone(&self.unsettled, *id));
        self.unsettled.retain(|ended| !ids.contains(&ended.id) || matches!(ended.how, How::Returned(Err(_))));
        for id in waiting.iter().rev() {
            if let Some(member) = self.crew.members().by_id.get_mut(id) {
                member.cancel();
            }
        }
        while !waiting.is_empty() {
            match tokio::time::timeout(STEP_MAX, self.ended.recv()).await {
                Ok(Some(ended)) if waiting.contains(&ended.id) => {
                    waiting.retain(|id| *id != ended.id);
                    if let How::Returned(Err(_)) = ended.how {
                        self.unsettled.push_back(ended);
                    }
                }
                Ok(Some(ended)) => self.unsettled.push_back(ended),
                Ok(None) | Err(_) => {
                    let names: Vec<String> = {
                        let members = self.crew.members();
                        waiting
                            .iter()
                            .filter_map(|id| members.by_id.get(id))
                            .map(|member| member.name.clone())
                            .collect()
                    };
                    return Err(Failure(format!("{} did not end within {STEP_MAX:?}", names.join(", "))));
                }
            }
        }
        for id in ids {
            self.launch_again(id)?;
        }
        Ok(())
    }

    fn launch_again(&self, id: ActorId) -> Result<()> {
        // Taken out while it is made, which is the actor's own code.
        let Some(mut member) = self.crew.members().by_id.remove(&id) else { return Ok(()) };
        if member.stopped || self.crew.shutdown.is_asked() {
            return Ok(());
        }
        let run = (member.make)();
        let mut members = self.crew.members();
        member.cancel = Some(self.crew.launch(id, member.actor, &member.name, run)?);
        members.by_id.insert(id, member);
        Ok(())
    }
}

/// Runs to the end, to a panic, or until it is cancelled where it waits. What was running is dropped before this
/// returns.
async fn until_cancelled(run: Run, cancelled: oneshot::Receiver<()>) -> How {
    let cancelled = async {
        if cancelled.await.is_err() {
            // Nobody is left who could.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = cancelled => How::Cancelled,
        ended = caught(run) => match ended {
            Ok(returned) => How::Returned(returned),
            Err(panic) => How::Panicked(panic),
        },
    }
}

/// Runs to the end, or to a panic and what it said.
async fn caught<F: Future>(run: F) -> Result<F::Output, String> {
    let mut run = Box::pin(run);
    std::future::poll_fn(move |context| {
        // A future that panicked is not polled again, so that nobody sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(said(&*payload))),
        }
    })
    .await
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word").to_owned()
}

/// Counts a stage from its start to its end.
struct Running(watch::Sender<usize>);

impl Running {
    fn new(stages: &watch::Sender<usize>) -> Self {
        stages.send_modify(|running| *running += 1);
        Running(stages.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

#[cfg(test)]
mod tests;
