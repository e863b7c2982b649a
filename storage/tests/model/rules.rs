//! The rules: what may happen next, and what it leads to. One place where each rule can be broken on purpose.

use super::world::{Content, Happened, Offer, Open, Record, Run, Segment, Sent, Up, WRITERS, World};
use stateright::{Model, Property};

/// How far the model is explored.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest log.
    pub records: u8,
    pub transactions: u8,
    /// How often each writer's process starts.
    pub runs: u8,
    /// Answers lost, messages lost or late, refusals for want of room.
    pub mishaps: u8,
    /// Indexing jobs of each run; 0 leaves out sealing and collecting too.
    pub jobs: u8,
    pub power_cuts: u8,
}

/// A rule broken on purpose, to show that the model would tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The store takes an append whatever its head is.
    AppendIgnoresTheHead,
    /// The store looks only whether the slot is free, and a sealed slot is free again.
    AppendLooksAtTheSlotOnly,
    /// Whoever held the lease when it made its append needs no condition.
    LeaseInsteadOfCondition,
    /// After an unknown outcome the client hears `failed`, and another record is built for the slot.
    RetryBuildsAnotherRecord,
    /// After an unknown outcome the same transaction goes into a new record on the head found now.
    RetryOnTheHeadFound,
    /// A head that moved means "not written", even after an unknown outcome.
    MovedMeansNotWritten,
    /// Whatever the store answers is taken for done.
    AnswerIgnored,
    /// A writer whose head moved reads the new one and goes on in its old term.
    GoesOnAfterBeingFenced,
    /// A take-over keeps the term it finds.
    TakeOverKeepsTheTerm,
    /// Answered, and visible, before it is durable.
    AnswerBeforeSync,
    /// Visible before it is durable, although answered after.
    ShowBeforeSync,
    /// Sealing up to the head, covered or not.
    SealWithoutCoverage,
    /// The collector deletes keys of any term.
    CollectorWithoutTermRule,
    /// The collector deletes what its own unfinished job wrote.
    CollectorDeletesUnfinishedJobs,
    /// A job counts as finished once its segments are written, whatever became of its record.
    JobFinishedBeforeItsRecord,
    /// Segments are named by their content, so that a put is skipped when the segment is there already.
    SegmentsNamedByContent,
}

pub struct JournalModel {
    pub bounds: Bounds,
    pub breach: Option<Breach>,
}

/// A pause of a writer needs no action: it is every way of going on in which that writer does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The process starts and reads the log to its head.
    Start(u8),
    /// It ends at once; what it has sent stays on its way.
    Crash(u8),
    OfferTerm(u8),
    OfferTransaction(u8),
    OfferIndex(u8),
    /// The answer does not come in time; the offer may still arrive.
    GiveUp(u8),
    /// Reads the slot whose outcome is unknown; while it is empty, offers the same bytes again.
    LookAtSlot(u8),
    /// The offer reaches the store, which answers.
    Arrive(Sent),
    /// The offer reaches the store, and the answer is lost.
    AnswerLost(Sent),
    /// The offer is lost.
    OfferLost(Sent),
    /// The store has no room and says so.
    TurnedAway(Sent),
    PutSegment(u8),
    Seal(u8),
    /// The collector lists the segments and finds one that nothing names.
    Condemn(u8, Segment),
    /// Later, it deletes it.
    Delete(u8),
    /// A reader reads the log.
    Read,
    Sync,
    PowerCut,
    LeaseExpires,
}

/// What the store says to an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Moved,
    Busy,
}

impl Model for JournalModel {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for writer in 0..WRITERS {
            self.writer_actions(world, writer, actions);
        }
        let mishap = world.mishaps < self.bounds.mishaps;
        let mut before = None;
        for &sent in &world.sent {
            // Two copies of one message are one choice.
            if before.replace(sent) == Some(sent) {
                continue;
            }
            actions.push(Action::Arrive(sent));
            if !sent.awaited {
                actions.push(Action::OfferLost(sent));
            } else if mishap {
                actions.extend([Action::AnswerLost(sent), Action::OfferLost(sent), Action::TurnedAway(sent)]);
            }
        }
        if world.seen.is_none() {
            actions.push(Action::Read);
        }
        if usize::from(world.store.synced) < world.store.log.len() {
            actions.push(Action::Sync);
        }
        if world.power_cuts < self.bounds.power_cuts {
            actions.push(Action::PowerCut);
        }
        if world.store.lease.is_some() {
            actions.push(Action::LeaseExpires);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.happened = Happened::default();
        match action {
            Action::Start(writer) => self.start(&mut next, writer),
            Action::Crash(writer) => next.writers[usize::from(writer)].up = None,
            Action::OfferTerm(writer) => self.offer_term(&mut next, writer),
            Action::OfferTransaction(writer) => {
                next.transactions += 1;
                let content = Content::Transaction(next.transactions);
                offer(&mut next, writer, content);
            }
            Action::OfferIndex(writer) => {
                let job = next.up(writer)?.job?;
                offer(&mut next, writer, Content::Index(job));
            }
            Action::GiveUp(writer) => {
                next.mishaps += 1;
                let offer = next.up(writer)?.open?.offer;
                let sent = next.sent.iter_mut().find(|sent| sent.awaited && sent.offer == offer)?;
                sent.awaited = false;
                next.sent.sort();
                self.outcome_unknown(&mut next, writer);
            }
            Action::LookAtSlot(writer) => self.look_at_slot(&mut next, writer),
            Action::Arrive(sent) => {
                let answer = self.arrive(&mut next, sent);
                let later = answer == Answer::Done && self.breaks(Breach::ShowBeforeSync);
                if sent.awaited && !later {
                    self.hear(&mut next, sent.offer, answer);
                }
            }
            Action::AnswerLost(sent) => {
                next.mishaps += 1;
                self.arrive(&mut next, sent);
                self.not_heard(&mut next, sent.offer);
            }
            Action::OfferLost(sent) => {
                take(&mut next, sent);
                if sent.awaited {
                    next.mishaps += 1;
                    self.not_heard(&mut next, sent.offer);
                }
            }
            Action::TurnedAway(sent) => {
                next.mishaps += 1;
                take(&mut next, sent);
                self.hear(&mut next, sent.offer, Answer::Busy);
            }
            Action::PutSegment(writer) => self.put_segment(&mut next, writer),
            Action::Seal(writer) => {
                let covered = next.up(writer)?.root?.covers;
                let before = match self.breach {
                    Some(Breach::SealWithoutCoverage) => next.store.log.len() as u8,
                    _ => covered + 1,
                };
                next.store.sealed_before = next.store.sealed_before.max(before);
            }
            Action::Condemn(writer, segment) => next.up_mut(writer)?.condemned = Some(segment),
            Action::Delete(writer) => {
                let segment = next.up_mut(writer)?.condemned.take()?;
                next.store.segments.remove(&segment);
                next.happened.segment_collected = true;
            }
            Action::Read => next.seen = Some(next.store.log.clone()),
            Action::Sync => self.sync(&mut next),
            Action::PowerCut => {
                next.power_cuts += 1;
                next.store.log.truncate(usize::from(next.store.synced));
            }
            Action::LeaseExpires => next.store.lease = None,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<Property<Self>> = vec![
            Property::always("what was acknowledged stands in its slot", |_, world: &World| {
                world.promised.iter().all(|(seq, record)| world.store.slot(*seq) == Some(*record))
            }),
            Property::always("what was refused is never written", |_, world: &World| {
                !transactions(world).any(|number| world.refused.contains(&number))
            }),
            Property::always("no transaction is written twice", |_, world: &World| {
                let mut numbers: Vec<_> = transactions(world).collect();
                let count = numbers.len();
                numbers.sort();
                numbers.dedup();
                numbers.len() == count
            }),
            Property::always("terms rise, each by a record of its own, and have one writer", |_, world: &World| {
                world.store.log.windows(2).all(|pair| match pair[1].content {
                    Content::Term => pair[1].term > pair[0].term,
                    _ => pair[1].term == pair[0].term && (pair[1].by == pair[0].by),
                })
            }),
            Property::always("an open slot is offered the same record only", |_, world: &World| {
                !world.happened.another_record_for_an_open_slot
            }),
            Property::always("what a reader saw stays", |_, world: &World| {
                world.seen.as_ref().is_none_or(|seen| world.store.log.starts_with(seen))
            }),
            Property::always("sealed records are covered by a tree that is there", |_, world: &World| {
                world.store.sealed_before <= world.store.covered() + 1
            }),
            Property::always("the newest roots are there", |_, world: &World| {
                world.store.root().is_none_or(|segment| world.store.segments.contains(&segment))
            }),
            Property::sometimes("both writers have reigned", |_, world: &World| {
                (0..WRITERS).all(|writer| {
                    let by_it = |record: &Record| record.by.writer == writer && record.content == Content::Term;
                    world.store.log.iter().any(by_it)
                })
            }),
            Property::sometimes("an unknown outcome was found done", |_, world: &World| {
                world.happened.unknown_found_done
            }),
            Property::sometimes("an unknown outcome was offered again", |_, world: &World| {
                world.happened.unknown_offered_again
            }),
            Property::sometimes("a late offer met a new term", |_, world: &World| {
                world.happened.late_offer_met_a_new_term
            }),
        ];
        if self.bounds.jobs > 0 {
            properties.push(Property::sometimes("a segment was collected after sealing", |_, world: &World| {
                world.happened.segment_collected && world.store.sealed_before > 1
            }));
        }
        properties
    }
}

impl JournalModel {
    pub fn new(bounds: Bounds) -> Self {
        JournalModel { bounds, breach: None }
    }

    pub fn with(self, breach: Breach) -> Self {
        JournalModel { breach: Some(breach), ..self }
    }

    fn breaks(&self, breach: Breach) -> bool {
        self.breach == Some(breach)
    }

    /// The store's answer to an offer that arrives now.
    pub fn answer(&self, world: &World, offer: &Offer) -> Answer {
        let (seq, head) = world.store.head();
        let granted = match self.breach {
            Some(Breach::AppendIgnoresTheHead) => offer.seq <= seq + 1,
            Some(Breach::AppendLooksAtTheSlotOnly) => offer.seq == seq + 1 || offer.seq < world.store.sealed_before,
            Some(Breach::LeaseInsteadOfCondition) if offer.record.content != Content::Term => offer.seq <= seq + 1,
            _ => offer.seq == seq + 1 && offer.expected == head,
        };
        if granted { Answer::Done } else { Answer::Moved }
    }

    fn writer_actions(&self, world: &World, writer: u8, actions: &mut Vec<Action>) {
        let Some(up) = world.up(writer) else {
            if world.writers[usize::from(writer)].runs < self.bounds.runs {
                actions.push(Action::Start(writer));
            }
            return;
        };
        actions.push(Action::Crash(writer));
        match up.open {
            Some(open) if open.waiting => {
                if world.mishaps < self.bounds.mishaps {
                    actions.push(Action::GiveUp(writer));
                }
            }
            Some(_) => actions.push(Action::LookAtSlot(writer)),
            None if up.seq >= self.bounds.records => {}
            None if up.term == 0 => {
                if world.store.lease.is_none_or(|holder| holder == writer) {
                    actions.push(Action::OfferTerm(writer));
                }
            }
            None => {
                let holds = !self.breaks(Breach::LeaseInsteadOfCondition) || world.store.lease == Some(writer);
                if holds && world.transactions < self.bounds.transactions {
                    actions.push(Action::OfferTransaction(writer));
                }
                if holds && up.job.is_some() {
                    actions.push(Action::OfferIndex(writer));
                }
            }
        }
        if up.term == 0 || self.bounds.jobs == 0 {
            return;
        }
        if up.job.is_none() && up.jobs < self.bounds.jobs {
            actions.push(Action::PutSegment(writer));
        }
        if up.root.is_some() {
            actions.push(Action::Seal(writer));
        }
        match up.condemned {
            Some(_) => actions.push(Action::Delete(writer)),
            None => actions.extend(
                world
                    .store
                    .segments
                    .iter()
                    .filter(|segment| self.is_garbage(up, world.run(writer), segment))
                    .map(|segment| Action::Condemn(writer, *segment)),
            ),
        }
    }

    /// What a collector may delete, as far as its writer knows: nothing that the roots name, and only keys of
    /// earlier terms or of its own finished jobs.
    fn is_garbage(&self, up: &Up, run: Run, segment: &Segment) -> bool {
        if up.root == Some(*segment) {
            return false;
        }
        let own = segment.by == run && segment.term == up.term;
        let finished = match self.breach {
            Some(Breach::CollectorDeletesUnfinishedJobs) => true,
            Some(Breach::JobFinishedBeforeItsRecord) => up.open.is_some() || up.job != Some(*segment),
            _ => up.job != Some(*segment),
        };
        match self.breach {
            // A name without a term says nothing of who may still need it.
            Some(Breach::CollectorWithoutTermRule | Breach::SegmentsNamedByContent) => up.job != Some(*segment),
            _ => segment.term < up.term || own && finished,
        }
    }

    fn start(&self, world: &mut World, writer: u8) {
        let (seq, head) = world.store.head();
        let root = world.store.root();
        let up = Up { term: 0, seq, head, root, open: None, job: None, jobs: 0, condemned: None, offered: None };
        let it = &mut world.writers[usize::from(writer)];
        it.runs += 1;
        it.up = Some(up);
    }

    fn offer_term(&self, world: &mut World, writer: u8) {
        let by = world.run(writer);
        let Some(up) = world.up(writer) else { return };
        let term = if self.breaks(Breach::TakeOverKeepsTheTerm) { up.head.term } else { up.head.term + 1 };
        send(world, writer, Record { term, by, content: Content::Term });
    }

    fn put_segment(&self, world: &mut World, writer: u8) {
        let by = world.run(writer);
        let Some(up) = world.up_mut(writer) else { return };
        up.jobs += 1;
        let (term, job, covers) = (up.term, up.jobs, up.seq);
        let segment = match self.breach {
            Some(Breach::SegmentsNamedByContent) => {
                Segment { term: 0, by: Run { writer: 0, number: 0 }, job: 0, covers }
            }
            _ => Segment { term, by, job, covers },
        };
        up.job = Some(segment);
        // A set: a put of what is there already changes nothing.
        world.store.segments.insert(segment);
    }

    /// The offer reaches the store.
    fn arrive(&self, world: &mut World, sent: Sent) -> Answer {
        take(world, sent);
        let Offer { seq, expected, record } = sent.offer;
        let answer = self.answer(world, &sent.offer);
        let (seq_last, head) = world.store.head();
        if answer == Answer::Moved && head.term > expected.term && !sent.awaited {
            world.happened.late_offer_met_a_new_term = true;
        }
        if answer == Answer::Done {
            if seq == seq_last + 1 {
                world.store.log.push(record);
            } else if seq >= world.store.sealed_before {
                world.store.log[usize::from(seq) - 1] = record;
            }
            if !self.breaks(Breach::AnswerBeforeSync) && !self.breaks(Breach::ShowBeforeSync) {
                world.store.synced = world.store.log.len() as u8;
            }
            if self.breaks(Breach::LeaseInsteadOfCondition) && record.content == Content::Term {
                world.store.lease = Some(record.by.writer);
            }
        }
        answer
    }

    /// The disk has everything, and whoever waited for that hears so.
    fn sync(&self, world: &mut World) {
        world.store.synced = world.store.log.len() as u8;
        for writer in 0..WRITERS {
            let open = world.up(writer).and_then(|up| up.open);
            if let Some(open) = open.filter(|open| open.waiting && world.store.log.contains(&open.offer.record)) {
                self.hear(world, open.offer, Answer::Done);
            }
        }
    }

    /// The writer, if it still runs and waits, hears the answer to its offer.
    fn hear(&self, world: &mut World, offer: Offer, answer: Answer) {
        let Some((writer, open)) = waiting_for(world, offer) else { return };
        match answer {
            Answer::Done => self.done(world, writer),
            Answer::Moved if self.breaks(Breach::AnswerIgnored) => self.done(world, writer),
            Answer::Moved if self.breaks(Breach::GoesOnAfterBeingFenced) => {
                refuse(world, writer);
                let (seq, head) = world.store.head();
                if let Some(up) = world.up_mut(writer) {
                    (up.seq, up.head) = (seq, head);
                }
            }
            // These bytes may be in the log all the same: the slot tells.
            Answer::Moved if open.doubtful && !self.breaks(Breach::MovedMeansNotWritten) => {
                self.outcome_unknown(world, writer);
            }
            Answer::Moved => {
                refuse(world, writer);
                world.writers[usize::from(writer)].up = None;
            }
            Answer::Busy if open.doubtful => self.outcome_unknown(world, writer),
            Answer::Busy => {
                refuse(world, writer);
                // The one case in which the slot is free for another record: these bytes were offered once, and
                // turned away.
                if let Some(up) = world.up_mut(writer) {
                    up.offered = None;
                }
            }
        }
    }

    /// The writer will not hear an answer to this message.
    fn not_heard(&self, world: &mut World, offer: Offer) {
        if let Some((writer, _)) = waiting_for(world, offer) {
            self.outcome_unknown(world, writer);
        }
    }

    fn outcome_unknown(&self, world: &mut World, writer: u8) {
        match self.breach {
            Some(Breach::RetryBuildsAnotherRecord) => {
                refuse(world, writer);
                return;
            }
            Some(Breach::RetryOnTheHeadFound) => {
                let (seq, head) = world.store.head();
                if let Some(up) = world.up_mut(writer)
                    && let Some(open) = up.open
                    && let Content::Transaction(_) = open.offer.record.content
                    && head.term == up.term
                {
                    (up.seq, up.head, up.open) = (seq, head, None);
                    // In truth with another instant and other random bytes; here the transaction's number tells.
                    offer(world, writer, open.offer.record.content);
                    return;
                }
            }
            _ => {}
        }
        if let Some(open) = world.up_mut(writer).and_then(|up| up.open.as_mut()) {
            (open.waiting, open.doubtful) = (false, true);
        }
    }

    fn look_at_slot(&self, world: &mut World, writer: u8) {
        let Some(open) = world.up(writer).and_then(|up| up.open) else { return };
        match world.store.slot(open.offer.seq) {
            Some(record) if record == open.offer.record => {
                world.happened.unknown_found_done = true;
                self.done(world, writer);
            }
            Some(_) => {
                refuse(world, writer);
                world.writers[usize::from(writer)].up = None;
            }
            None => {
                world.happened.unknown_offered_again = true;
                world.send(open.offer);
                if let Some(open) = world.up_mut(writer).and_then(|up| up.open.as_mut()) {
                    open.waiting = true;
                }
            }
        }
    }

    /// The open record is known to be in the log: the writer goes on from it, and its clients hear so.
    fn done(&self, world: &mut World, writer: u8) {
        let Some(up) = world.up_mut(writer) else { return };
        let Some(Open { offer: Offer { seq, record, .. }, .. }) = up.open.take() else { return };
        (up.seq, up.head, up.term) = (seq, record, record.term);
        if let Some(root) = record.root() {
            (up.root, up.job) = (Some(root), None);
        }
        world.promised.insert((seq, record));
    }
}

/// Offers a record of the running term for the next slot.
fn offer(world: &mut World, writer: u8, content: Content) {
    let by = world.run(writer);
    let Some(up) = world.up(writer) else { return };
    let record = Record { term: up.term, by, content };
    send(world, writer, record);
}

fn send(world: &mut World, writer: u8, record: Record) {
    let Some(up) = world.up_mut(writer) else { return };
    let offer = Offer { seq: up.seq + 1, expected: up.head, record };
    let another = up.offered.is_some_and(|before| before.seq == offer.seq && before.record != record);
    up.offered = Some(offer);
    up.open = Some(Open { offer, waiting: true, doubtful: false });
    world.happened.another_record_for_an_open_slot = another;
    world.send(offer);
}

/// The client hears that what it asked for is not done and never will be.
fn refuse(world: &mut World, writer: u8) {
    let Some(up) = world.up_mut(writer) else { return };
    let Some(open) = up.open.take() else { return };
    match open.offer.record.content {
        Content::Transaction(number) => {
            world.refused.insert(number);
        }
        Content::Index(_) => up.job = None,
        Content::Create | Content::Term => {}
    }
}

fn take(world: &mut World, sent: Sent) {
    if let Some(place) = world.sent.iter().position(|other| *other == sent) {
        world.sent.remove(place);
    }
}

fn waiting_for(world: &World, offer: Offer) -> Option<(u8, Open)> {
    let writer = offer.record.by.writer;
    let open = world.up(writer)?.open?;
    (open.waiting && open.offer == offer).then_some((writer, open))
}

fn transactions(world: &World) -> impl Iterator<Item = u8> {
    world.store.log.iter().filter_map(|record| match record.content {
        Content::Transaction(number) => Some(number),
        _ => None,
    })
}
