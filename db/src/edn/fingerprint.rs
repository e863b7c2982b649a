//! Fingerprints of forms: equal forms have equal ones, in whatever order their maps and sets were written.
//!
//! They make equality of maps and sets, and the search for duplicates in them, cost about the size of the text.
//! They serve speed alone: whoever finds two alike compares the forms.

use super::Edn;
use crate::model::Symbol;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The fingerprint of any form.
pub(super) fn of(form: &Edn) -> u64 {
    match form {
        Edn::List(elements) | Edn::Vector(elements) => of_sequence(elements.iter().map(of)),
        Edn::Set(elements) => of_set(elements.iter().map(of).collect()),
        Edn::Map(entries) => of_map(entries.iter().map(|(key, value)| (of(key), of(value))).collect()),
        Edn::Tagged(tag, form) => of_tagged(tag, of(form)),
        scalar => of_scalar(scalar),
    }
}

pub(super) fn of_sequence(elements: impl Iterator<Item = u64>) -> u64 {
    hash(&(13u8, elements.collect::<Vec<u64>>()))
}

pub(super) fn of_set(mut elements: Vec<u64>) -> u64 {
    elements.sort_unstable();
    hash(&(15u8, elements))
}

pub(super) fn of_map(mut entries: Vec<(u64, u64)>) -> u64 {
    entries.sort_unstable();
    hash(&(14u8, entries))
}

pub(super) fn of_tagged(tag: &Symbol, form: u64) -> u64 {
    hash(&(16u8, tag, form))
}

fn of_scalar(form: &Edn) -> u64 {
    match form {
        Edn::Nil => hash(&0u8),
        Edn::Bool(x) => hash(&(1u8, x)),
        Edn::Char(x) => hash(&(2u8, x)),
        Edn::Long(x) => hash(&(3u8, x)),
        Edn::BigInt(x) => hash(&(4u8, x)),
        // One NaN and one zero, as in the order of forms.
        Edn::Double(x) => hash(&(5u8, if x.is_nan() { f64::NAN } else { x + 0.0 }.to_bits())),
        Edn::BigDec(x) => hash(&(6u8, x)),
        Edn::Ratio(x) => hash(&(7u8, x)),
        Edn::String(x) => hash(&(8u8, x)),
        Edn::Keyword(x) => hash(&(9u8, x)),
        Edn::Symbol(x) => hash(&(10u8, x)),
        Edn::Inst(x) => hash(&(11u8, x)),
        Edn::Uuid(x) => hash(&(12u8, x)),
        Edn::List(_) | Edn::Vector(_) | Edn::Map(_) | Edn::Set(_) | Edn::Tagged(..) => of(form),
    }
}

fn is_scalar(form: &Edn) -> bool {
    !matches!(form, Edn::List(_) | Edn::Vector(_) | Edn::Map(_) | Edn::Set(_) | Edn::Tagged(..))
}

fn hash(content: &impl Hash) -> u64 {
    // SipHash with fixed keys: the same on every run, and too strong for anyone to make many forms collide.
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Whether two collections have the same members, in any order.
pub(super) fn same_members<X: PartialEq + Ord>(a: &[X], b: &[X], of: impl Fn(&X) -> u64) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // No look at the order as written first: deep forms would be compared twice at each level.
    let by_print = |members: &[X]| -> Vec<(u64, usize)> {
        let mut prints: Vec<_> = members.iter().enumerate().map(|(i, member)| (of(member), i)).collect();
        prints.sort_unstable();
        prints
    };
    let (prints_a, prints_b) = (by_print(a), by_print(b));
    if prints_a.iter().zip(&prints_b).any(|(x, y)| x.0 != y.0) {
        return false;
    }
    if prints_a.iter().zip(&prints_b).all(|(x, y)| a[x.1] == b[y.1]) {
        return true;
    }
    // Different members with one fingerprint: rare enough to sort.
    let sorted = |members: &[X]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by(|i, j| members[*i].cmp(&members[*j]));
        order
    };
    sorted(a).into_iter().zip(sorted(b)).all(|(i, j)| a[i] == b[j])
}

/// The first form that stands twice among some, if one does.
pub(super) fn first_duplicate<'a>(forms: impl ExactSizeIterator<Item = &'a Edn> + Clone) -> Option<&'a Edn> {
    /// Up to here comparing each with each is the fastest.
    const PAIRWISE_MAX: usize = 16;

    if forms.len() <= PAIRWISE_MAX && forms.clone().all(is_scalar) {
        let mut rest = forms.clone().enumerate();
        return rest.find(|(i, x)| forms.clone().take(*i).any(|y| *x == y)).map(|(_, form)| form);
    }
    let mut prints: Vec<(u64, usize, &Edn)> = forms.enumerate().map(|(i, form)| (of(form), i, form)).collect();
    prints.sort_unstable_by_key(|(print, i, _)| (*print, *i));
    let twice = prints.chunk_by(|x, y| x.0 == y.0).flat_map(|alike| {
        alike.iter().enumerate().filter(move |(i, x)| alike[..*i].iter().any(|y| x.2 == y.2)).map(|(_, x)| (x.1, x.2))
    });
    twice.min_by_key(|(i, _)| *i).map(|(_, form)| form)
}
