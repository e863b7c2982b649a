//! Ways through the model, as the store sees them: what it is asked, what it answers, and what it then holds.

use super::rules::{Action, Answer, JournalModel};
use super::world::{Happened, Offer, Record, Segment, Store, WRITERS, World};
use diachron_storage::conformance::Dice;
use stateright::Model;
use std::collections::{BTreeMap, BTreeSet};

/// Something the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// An append or a take-over arrives and is answered.
    Offer(Offer),
    /// It arrives, and its answer is lost.
    OfferUnanswered(Offer),
    /// It does not arrive, and its writer does not know.
    OfferLost(Offer),
    /// It finds no room.
    OfferTurnedAway(Offer),
    /// A writer reads the slot of an offer whose outcome it does not know.
    Look(Offer),
    Put(Segment),
    Delete(Segment),
    /// Records before this one are let go of.
    Seal(u8),
}

/// What the store is asked, and what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub ask: Ask,
    pub expected: Expected,
    /// What the store holds afterwards.
    pub after: Store,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An offer's answer; with Moved the log tells the head.
    Answer(Answer),
    /// The record in the slot.
    Slot(Option<Record>),
    /// Nothing that a caller hears: only what the store then holds.
    Nothing,
}

/// The step that an action is for the store, and the world after it.
fn step(model: &JournalModel, world: &World, action: Action) -> Option<(Option<Step>, World)> {
    let ask = match action {
        // A read changes nothing, and everything is read after every step.
        Action::Read => return None,
        Action::Arrive(sent) => Some(Ask::Offer(sent.offer)),
        Action::AnswerLost(sent) => Some(Ask::OfferUnanswered(sent.offer)),
        Action::OfferLost(sent) if sent.awaited => Some(Ask::OfferLost(sent.offer)),
        Action::TurnedAway(sent) => Some(Ask::OfferTurnedAway(sent.offer)),
        Action::LookAtSlot(writer) => Some(Ask::Look(world.up(writer)?.open?.offer)),
        Action::Delete(writer) => Some(Ask::Delete(world.up(writer)?.condemned?)),
        Action::Seal(writer) => Some(Ask::Seal(world.up(writer)?.root?.covers + 1)),
        Action::PutSegment(_) => None,
        _ => None,
    };
    let next = model.next_state(world, action)?;
    let ask = match action {
        Action::PutSegment(writer) => Some(Ask::Put(next.up(writer)?.job?)),
        _ => ask,
    };
    let expected = match ask {
        Some(Ask::Offer(offer)) => Expected::Answer(model.answer(world, &offer)),
        Some(Ask::Look(offer)) => Expected::Slot(world.store.slot(offer.seq)),
        _ => Expected::Nothing,
    };
    Some((ask.map(|ask| Step { ask, expected, after: next.store.clone() }), next))
}

/// Every sequence of `depth` asks (or fewer, where the model ends) that some way through the model leads to, each once.
pub fn every_way(model: &JournalModel, depth: usize, visit: &mut dyn FnMut(&[Step])) {
    let start = model.init_states().into_iter().collect();
    descend(model, start, depth, &mut Vec::new(), visit);
}

/// `worlds` are all that a store cannot tell apart after the steps so far.
fn descend(
    model: &JournalModel,
    worlds: BTreeSet<World>,
    depth: usize,
    so_far: &mut Vec<Step>,
    visit: &mut dyn FnMut(&[Step]),
) {
    let mut known: BTreeSet<World> = worlds.into_iter().map(without_history).collect();
    let mut to_see: Vec<World> = known.iter().cloned().collect();
    let mut after: BTreeMap<Ask, (Step, BTreeSet<World>)> = BTreeMap::new();
    while depth > 0
        && let Some(world) = to_see.pop()
    {
        let mut actions = Vec::new();
        model.actions(&world, &mut actions);
        for action in actions {
            match step(model, &world, action) {
                Some((Some(step), next)) => {
                    let (there, worlds) = after.entry(step.ask).or_insert_with(|| (step.clone(), BTreeSet::new()));
                    assert_eq!(*there, step, "the answer depends on what the store cannot know");
                    worlds.insert(next);
                }
                Some((None, next)) => {
                    let next = without_history(next);
                    if known.insert(next.clone()) {
                        to_see.push(next);
                    }
                }
                None => {}
            }
        }
    }
    if after.is_empty() {
        visit(so_far);
    }
    for (step, worlds) in after.into_values() {
        so_far.push(step);
        descend(model, worlds, depth - 1, so_far, visit);
        so_far.pop();
    }
}

/// The world without what only properties ask for.
fn without_history(mut world: World) -> World {
    world.promised.clear();
    world.refused.clear();
    world.seen = None;
    world.happened = Happened::default();
    for writer in 0..WRITERS {
        if let Some(up) = world.up_mut(writer) {
            up.offered = None;
        }
    }
    world
}

/// One long way by chance.
pub fn a_way(model: &JournalModel, seed: u64, steps_max: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let mut world = World::new();
    let mut steps = Vec::new();
    while steps.len() < steps_max {
        let mut actions = Vec::new();
        model.actions(&world, &mut actions);
        // Crashes and missing answers now and then only: the bounds are for the whole way.
        actions.retain(|action| match action {
            Action::Crash(_) | Action::GiveUp(_) => dice.below(10) == 0,
            Action::AnswerLost(_) | Action::OfferLost(_) | Action::TurnedAway(_) => dice.below(4) == 0,
            Action::Seal(_) => dice.below(10) == 0,
            Action::Read => false,
            _ => true,
        });
        if actions.is_empty() {
            if both_are_done(model, &world) {
                break;
            }
            continue;
        }
        let action = actions[dice.below(actions.len() as u64) as usize];
        if let Some((step, next)) = step(model, &world, action) {
            steps.extend(step);
            world = next;
        }
    }
    steps
}

/// Nothing is left to do but to crash and to read.
fn both_are_done(model: &JournalModel, world: &World) -> bool {
    let mut actions = Vec::new();
    model.actions(world, &mut actions);
    actions.iter().all(|action| matches!(action, Action::Crash(_) | Action::Read | Action::Seal(_)))
}
