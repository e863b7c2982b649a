//! Tempids: the strings that name new entities, each in the scope it was written in.
//!
//! The caller's tx-data is one scope; what a function returns is a scope of its own for every call, so that two
//! calls never share an entity by accident. A string that was among the call's arguments, at any depth, is the
//! caller's tempid: so a function can speak of an entity that its caller names.

use super::op::TempId;
use crate::edn::Edn;
use crate::model::{Keyword, Text};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::OnceCell;

/// Where a tempid was written: in the caller's tx-data or in what one call of a function returned.
pub(super) struct Scope<'a> {
    number: u32,
    call: Option<Call<'a>>,
}

struct Call<'a> {
    function: &'a Keyword,
    args: &'a [Edn],
    caller: &'a Scope<'a>,
    /// The strings among `args`; gathered when the first tempid asks.
    passed: OnceCell<FxHashSet<Text>>,
}

impl<'a> Scope<'a> {
    pub(super) fn top() -> Self {
        Scope { number: 0, call: None }
    }

    /// The scope a name written in this one belongs to.
    fn of_name(&self, name: &str) -> &Scope<'a> {
        let mut scope = self;
        while let Some(call) = &scope.call {
            let passed = call.passed.get_or_init(|| strings_in(call.args));
            if !passed.contains(name) {
                break;
            }
            scope = call.caller;
        }
        scope
    }
}

/// All strings in the forms, map keys left out.
fn strings_in(forms: &[Edn]) -> FxHashSet<Text> {
    let mut strings = FxHashSet::default();
    let mut stack: Vec<&Edn> = forms.iter().collect();
    while let Some(form) = stack.pop() {
        match form {
            Edn::String(text) => {
                strings.insert(text.clone());
            }
            Edn::List(forms) | Edn::Vector(forms) | Edn::Set(forms) => stack.extend(forms),
            Edn::Map(entries) => stack.extend(entries.iter().map(|(_, value)| value)),
            _ => {}
        }
    }
    strings
}

/// The tempids of one transaction, numbered as they appear.
#[derive(Default)]
pub(super) struct Tempids {
    known: Vec<Known>,
    by_name: FxHashMap<(u32, Text), TempId>,
    scopes: u32,
}

struct Known {
    name: Option<Text>,
    /// The function whose result the tempid was written in; None for the caller's own.
    function: Option<Keyword>,
    /// Whether an assertion about it was seen.
    asserted: bool,
}

impl Tempids {
    /// A new scope for what a call of `function` with `args` returns.
    pub(super) fn scope<'a>(&mut self, function: &'a Keyword, args: &'a [Edn], caller: &'a Scope<'a>) -> Scope<'a> {
        self.scopes += 1;
        Scope { number: self.scopes, call: Some(Call { function, args, caller, passed: OnceCell::new() }) }
    }

    /// The tempid of a name written in a scope.
    pub(super) fn named(&mut self, name: &Text, scope: &Scope<'_>) -> TempId {
        let scope = scope.of_name(name);
        let next = TempId(self.known.len() as u32);
        let temp = *self.by_name.entry((scope.number, name.clone())).or_insert(next);
        if temp == next {
            let function = scope.call.as_ref().map(|call| call.function.clone());
            self.known.push(Known { name: Some(name.clone()), function, asserted: false });
        }
        temp
    }

    /// The tempid of a map without `:db/id`.
    pub(super) fn anonymous(&mut self) -> TempId {
        self.known.push(Known { name: None, function: None, asserted: false });
        TempId(self.known.len() as u32 - 1)
    }

    /// Notes that there is an assertion about this tempid.
    pub(super) fn assert(&mut self, temp: TempId) {
        self.known[temp.0 as usize].asserted = true;
    }

    pub(super) fn is_asserted(&self, temp: TempId) -> bool {
        self.known[temp.0 as usize].asserted
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The caller's own tempids with their names, in the order of their appearance.
    pub(super) fn of_caller(&self) -> impl Iterator<Item = (TempId, &Text)> {
        self.known.iter().enumerate().filter_map(|(i, known)| match (&known.name, &known.function) {
            (Some(name), None) => Some((TempId(i as u32), name)),
            _ => None,
        })
    }

    /// The tempid as it stands in messages.
    pub(super) fn describe(&self, temp: TempId) -> Edn {
        let known = &self.known[temp.0 as usize];
        match &known.name {
            Some(name) => Edn::String(name.clone()),
            None => Edn::symbol("new-entity"),
        }
    }

    /// The function whose result the tempid was written in.
    pub(super) fn function(&self, temp: TempId) -> Option<&Keyword> {
        self.known[temp.0 as usize].function.as_ref()
    }
}
