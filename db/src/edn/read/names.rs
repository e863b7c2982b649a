//! Keywords and symbols by text, most of them without an allocation.

use crate::model::{Keyword, Symbol};
use std::hash::Hasher;

/// Names seen before, so that most of a text's keywords cost no allocation. Bounded: a newer name takes the place
/// of an older one.
pub(super) struct Names<N> {
    slots: Vec<Option<N>>,
}

const NAME_SLOTS: usize = 512;

impl<N: Name> Names<N> {
    pub(super) fn new() -> Self {
        Names { slots: Vec::new() }
    }

    pub(super) fn find(&self, text: &str) -> Option<N> {
        let name = self.slots.get(slot(text))?.as_ref()?;
        (name.text() == text).then(|| name.clone())
    }

    pub(super) fn get(&mut self, text: &str) -> N {
        if let Some(name) = self.find(text) {
            return name;
        }
        if self.slots.is_empty() {
            self.slots = vec![None; NAME_SLOTS];
        }
        let name = N::new(text);
        self.slots[slot(text)] = Some(name.clone());
        name
    }
}

fn slot(text: &str) -> usize {
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish() as usize % NAME_SLOTS
}

pub(super) trait Name: Clone {
    fn new(text: &str) -> Self;
    fn text(&self) -> &str;
}

impl Name for Keyword {
    fn new(text: &str) -> Self {
        Keyword::new(text)
    }

    fn text(&self) -> &str {
        self.as_str()
    }
}

impl Name for Symbol {
    fn new(text: &str) -> Self {
        Symbol::new(text)
    }

    fn text(&self) -> &str {
        self.as_str()
    }
}
