//! A large made-up shop, the same for the same seed: what is larger than memory is measured with it.
//!
//! Items come in blocks, one a transaction, with nine attributes: unique numbers, names, kinds and tags of which few are
//! frequent, makers (references to other items, the early ones referred to most), prices and stocks that change, and
//! notes that come and go. Item `i` has `v` or more versions with probability 1/v, at most 32 in all; the first few are
//! changed by every transaction. Version `k` comes `k(k + 1)/2` transactions after the item itself.
//!
//! Nothing is remembered: every value is a function of seed, item and version, so that whatever a database answers, now
//! or as of any transaction, can be checked without having a second one ([`Big::values`], [`Big::lives`]).

use db::model::{EntityId, Partition, Value};
use db::{AttrId, Datom, Instant};
use std::fmt::Write;
use std::ops::Range;

/// Attributes in the order of [`SCHEMA`], which is that of their numbers.
pub const ATTRIBUTES: [&str; 9] = [
    "item/number",
    "item/name",
    "item/kind",
    "item/maker",
    "item/tags",
    "item/price",
    "item/stock",
    "item/changed",
    "item/note",
];

pub const NUMBER: usize = 0;
pub const NAME: usize = 1;
pub const KIND: usize = 2;
pub const MAKER: usize = 3;
pub const TAGS: usize = 4;
pub const PRICE: usize = 5;
pub const STOCK: usize = 6;
pub const CHANGED: usize = 7;
pub const NOTE: usize = 8;

/// The transaction that goes before all others.
pub const SCHEMA: &str = "[
 {:db/ident :item/number  :db/valueType :db.type/long    :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :item/name    :db/valueType :db.type/string  :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :item/kind    :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :item/maker   :db/valueType :db.type/ref     :db/cardinality :db.cardinality/one}
 {:db/ident :item/tags    :db/valueType :db.type/keyword :db/cardinality :db.cardinality/many}
 {:db/ident :item/price   :db/valueType :db.type/long    :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :item/stock   :db/valueType :db.type/long    :db/cardinality :db.cardinality/one}
 {:db/ident :item/changed :db/valueType :db.type/instant :db/cardinality :db.cardinality/one}
 {:db/ident :item/note    :db/valueType :db.type/string  :db/cardinality :db.cardinality/one}]";

/// Items that every transaction changes.
pub const HOT: u64 = 16;
pub const VERSIONS_MAX: u64 = 32;
const KINDS: u64 = 64;
const TAGS_KNOWN: u64 = 30;
/// 2020-01-01, and a second for each transaction.
const BEGINNING_MS: i64 = 1_577_836_800_000;

pub struct Big {
    seed: u64,
    items: u64,
    items_each: u64,
    /// The counter of item 0's entity id; the others follow.
    first: u64,
    kinds: Vec<Value>,
    tags: Vec<Value>,
}

/// What a transaction says or takes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub item: u64,
    /// Its place in [`ATTRIBUTES`].
    pub a: usize,
    pub v: Value,
    pub said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Added,
    Retracted,
    /// Taken back by another value of a cardinality-one attribute: a datom, and not said by tx-data.
    Replaced,
}

/// A value's time in force, in transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    pub a: usize,
    pub v: Value,
    pub from: u64,
    pub to: Option<u64>,
}

/// How tx-data names items that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By their numbers, as lookup refs.
    Numbers,
    /// By their entity ids, which follow each other from [`Big::with_first`] on.
    Ids,
}

/// What is decided by a hash of seed, item and version.
#[derive(Clone, Copy)]
enum Choice {
    Versions,
    Name,
    Kind,
    Maker,
    Tags,
    Price,
    Stock,
    Note,
}

impl Big {
    pub fn new(seed: u64, items: u64) -> Big {
        let keywords =
            |prefix: &str, count: u64| (0..count).map(|n| Value::keyword(format!("{prefix}{n:02}"))).collect();
        Big {
            seed,
            items,
            items_each: 100,
            first: 0,
            kinds: keywords("kind/k", KINDS),
            tags: keywords("tag/t", TAGS_KNOWN),
        }
    }

    /// About so many datoms, within a few percent.
    pub fn of_datoms(seed: u64, datoms: u64) -> Big {
        let mut big = Big::new(seed, (datoms / 25).max(HOT));
        for _ in 0..3 {
            big.items = (big.items * datoms / big.datoms().max(1)).max(HOT);
        }
        big
    }

    /// Items of one transaction; at least [`HOT`], so that the hot ones come together.
    pub fn with_items_each(self, items_each: u64) -> Big {
        Big { items_each: items_each.max(HOT), ..self }
    }

    /// The counter of item 0's entity id.
    pub fn with_first(self, first: u64) -> Big {
        Big { first, ..self }
    }

    pub fn items(&self) -> u64 {
        self.items
    }

    /// They are numbered from 0.
    pub fn transactions(&self) -> u64 {
        self.items.div_ceil(self.items_each)
    }

    /// Datoms in all, without those of the transactions themselves.
    pub fn datoms(&self) -> u64 {
        let end = self.transactions();
        (0..self.items).map(|item| self.datoms_of(item, end)).sum()
    }

    pub fn instant(&self, transaction: u64) -> Instant {
        Instant(BEGINNING_MS + transaction as i64 * 1000)
    }

    pub fn entity(&self, item: u64) -> EntityId {
        EntityId::new(Partition::User, self.first + item)
    }

    /// The facts of a transaction, by item, attribute, and what is taken back first.
    pub fn transaction(&self, transaction: u64, facts: &mut Vec<Fact>) {
        if transaction > 0 {
            (0..HOT.min(self.items)).for_each(|item| self.facts_of(item, transaction, transaction, facts));
        }
        for k in (1..VERSIONS_MAX).rev() {
            if let Some(block) = transaction.checked_sub(delay(k)) {
                let items = self.block(block);
                let changed = items.filter(|item| *item >= HOT && self.versions_max(*item) > k);
                changed.for_each(|item| self.facts_of(item, k, transaction, facts));
            }
        }
        self.block(transaction).for_each(|item| self.facts_of(item, 0, transaction, facts));
    }

    /// The same as datoms of a `t`; `attributes` are the numbers of [`ATTRIBUTES`].
    pub fn datoms_of_transaction(&self, facts: &[Fact], t: u64, attributes: &[AttrId; 9]) -> Vec<Datom> {
        let datom = |fact: &Fact| {
            let added = fact.said == Said::Added;
            Datom::new(self.entity(fact.item), attributes[fact.a], fact.v.clone(), t, added)
        };
        facts.iter().map(datom).collect()
    }

    /// The tx-data that says so.
    pub fn text(&self, transaction: u64, facts: &[Fact], naming: Naming) -> String {
        let new = self.block(transaction);
        let name = |text: &mut String, item: u64| {
            let written = match naming {
                _ if new.contains(&item) => write!(text, "\"{item}\""),
                Naming::Numbers => write!(text, "[:item/number {item}]"),
                Naming::Ids => write!(text, "{}", self.entity(item).as_long()),
            };
            written.expect("a string takes all that is written");
        };
        let mut text = String::with_capacity(facts.len() * 48);
        text.push('[');
        for fact in facts {
            text.push_str(match fact.said {
                Said::Added => "[:db/add ",
                Said::Retracted => "[:db/retract ",
                Said::Replaced => continue,
            });
            name(&mut text, fact.item);
            text.push_str(" :");
            text.push_str(ATTRIBUTES[fact.a]);
            text.push(' ');
            match &fact.v {
                Value::Ref(maker) => name(&mut text, maker.counter() - self.first),
                v => write!(text, "{v}").expect("a string takes all that is written"),
            }
            text.push_str("]\n");
        }
        text.push(']');
        text
    }

    /// The version that an item has after a transaction; None before it comes.
    pub fn version(&self, item: u64, transaction: u64) -> Option<u64> {
        let age = transaction.checked_sub(item / self.items_each)?;
        match item < HOT {
            true => Some(age),
            false => (0..self.versions_max(item)).rev().find(|k| delay(*k) <= age),
        }
    }

    /// The transaction in which an item gets a version, if it ever does.
    pub fn transaction_of(&self, item: u64, k: u64) -> Option<u64> {
        let transaction = item / self.items_each + if item < HOT { k } else { delay(k) };
        (transaction < self.transactions() && (item < HOT || k < self.versions_max(item))).then_some(transaction)
    }

    /// An item's values of an attribute after a transaction, in order.
    pub fn values(&self, item: u64, a: usize, transaction: u64) -> Vec<Value> {
        let Some(k) = self.version(item, transaction) else { return Vec::new() };
        self.values_of_version(item, a, k)
    }

    /// Every life of an item's values up to the end of a transaction, by attribute and beginning.
    pub fn lives(&self, item: u64, transaction: u64, lives: &mut Vec<Life>) {
        let Some(last) = self.version(item, transaction) else { return };
        for a in 0..ATTRIBUTES.len() {
            let mut open: Vec<Life> = Vec::new();
            for k in 0..=last {
                let values = self.values_of_version(item, a, k);
                let from = self.transaction_of(item, k).unwrap_or(transaction);
                let (stay, ended) = std::mem::take(&mut open).into_iter().partition(|life| values.contains(&life.v));
                open = stay;
                lives.extend(Vec::into_iter(ended).map(|life| Life { to: Some(from), ..life }));
                let new = values.into_iter().filter(|v| !open.iter().any(|life| life.v == *v));
                let new: Vec<Life> = new.map(|v| Life { a, v, from, to: None }).collect();
                open.extend(new);
            }
            lives.extend(open);
        }
    }

    fn values_of_version(&self, item: u64, a: usize, k: u64) -> Vec<Value> {
        match a {
            TAGS => self.tags(item),
            MAKER => self.maker(item).into_iter().collect(),
            NOTE => self.note(item, k).into_iter().collect(),
            NUMBER => vec![Value::Long(item as i64)],
            NAME => vec![self.name(item)],
            KIND => vec![self.kinds[skewed(self.hash(item, 0, Choice::Kind), KINDS) as usize].clone()],
            PRICE => vec![self.price(item, k)],
            STOCK => vec![self.stock(item, k)],
            CHANGED => vec![self.changed(item, k)],
            _ => Vec::new(),
        }
    }

    /// What becomes so of an item with its version `k`.
    fn facts_of(&self, item: u64, k: u64, transaction: u64, facts: &mut Vec<Fact>) {
        let mut say = |a: usize, v: Value, said: Said| facts.push(Fact { item, a, v, said });
        if k == 0 {
            for a in NUMBER..=CHANGED {
                match a {
                    NUMBER => say(a, Value::Long(item as i64), Said::Added),
                    CHANGED => say(a, Value::Instant(self.instant(transaction)), Said::Added),
                    _ => self.values_of_version(item, a, 0).into_iter().for_each(|v| say(a, v, Said::Added)),
                }
            }
            self.note(item, 0).into_iter().for_each(|v| say(NOTE, v, Said::Added));
            return;
        }
        say(PRICE, self.price(item, k - 1), Said::Replaced);
        say(PRICE, self.price(item, k), Said::Added);
        say(STOCK, self.stock(item, k - 1), Said::Replaced);
        say(STOCK, self.stock(item, k), Said::Added);
        say(CHANGED, self.changed(item, k - 1), Said::Replaced);
        say(CHANGED, Value::Instant(self.instant(transaction)), Said::Added);
        if self.note_turns(item, k) {
            self.note(item, k - 1).into_iter().for_each(|v| say(NOTE, v, Said::Retracted));
            self.note(item, k).into_iter().for_each(|v| say(NOTE, v, Said::Added));
        }
    }

    fn datoms_of(&self, item: u64, transactions: u64) -> u64 {
        let Some(last) = self.version(item, transactions - 1) else { return 0 };
        let maker = u64::from(item > 0);
        let note = u64::from(self.note(item, 0).is_some());
        let turns = if item < HOT { 0 } else { (1..=last).filter(|k| self.note_turns(item, *k)).count() as u64 };
        6 + maker + self.tag_count(item) + note + 6 * last + turns
    }

    fn block(&self, block: u64) -> Range<u64> {
        (block * self.items_each).min(self.items)..((block + 1) * self.items_each).min(self.items)
    }

    fn versions_max(&self, item: u64) -> u64 {
        let below = (self.hash(item, 0, Choice::Versions) >> 32) + 1;
        ((1 << 32) / below).min(VERSIONS_MAX)
    }

    /// Some 4,000 names, few of them frequent.
    fn name(&self, item: u64) -> Value {
        const FIRST: [&str; 8] = ["ba", "do", "ki", "lu", "me", "no", "ri", "su"];
        let hash = self.hash(item, 0, Choice::Name);
        let mut number = skewed(hash, 1 << 12);
        let mut name = String::with_capacity(16);
        for _ in 0..4 {
            name.push_str(FIRST[number as usize % 8]);
            number /= 8;
        }
        // One in four has a name of its own.
        if hash.is_multiple_of(4) {
            write!(name, " {}", item % 100_000).expect("a string takes all that is written");
        }
        Value::string(name)
    }

    fn maker(&self, item: u64) -> Option<Value> {
        (item > 0).then(|| Value::Ref(self.entity(skewed(self.hash(item, 0, Choice::Maker), item))))
    }

    fn tag_count(&self, item: u64) -> u64 {
        self.hash(item, 0, Choice::Tags) % 4
    }

    fn tags(&self, item: u64) -> Vec<Value> {
        let begin = skewed(self.hash(item, 1, Choice::Tags), TAGS_KNOWN);
        // 7 and 30 have no common factor: they are different ones.
        let mut tags: Vec<u64> = (0..self.tag_count(item)).map(|n| (begin + 7 * n) % TAGS_KNOWN).collect();
        tags.sort_unstable();
        tags.into_iter().map(|tag| self.tags[tag as usize].clone()).collect()
    }

    /// Another one with each version.
    fn price(&self, item: u64, k: u64) -> Value {
        Value::Long((skewed(self.hash(item, k, Choice::Price), 1 << 20) * 4 + k % 4) as i64)
    }

    fn stock(&self, item: u64, k: u64) -> Value {
        Value::Long((self.hash(item, k, Choice::Stock) % 50 * 2 + k % 2) as i64)
    }

    fn changed(&self, item: u64, k: u64) -> Value {
        let transaction = item / self.items_each + if item < HOT { k } else { delay(k) };
        Value::Instant(self.instant(transaction))
    }

    /// Half of the items come with one; it goes, or another comes, when it turns.
    fn note(&self, item: u64, k: u64) -> Option<Value> {
        let begins = self.hash(item, 0, Choice::Note).is_multiple_of(2);
        let turns = if item < HOT { 0 } else { (1..=k).filter(|k| self.note_turns(item, *k)).count() as u64 };
        let number = self.hash(item, turns, Choice::Note) >> 16;
        (begins == turns.is_multiple_of(2)).then(|| Value::string(format!("note {turns} of item {item}: {number:x}")))
    }

    fn note_turns(&self, item: u64, k: u64) -> bool {
        item >= HOT && self.hash(item, k, Choice::Note) % 8 == 1
    }

    fn hash(&self, item: u64, k: u64, choice: Choice) -> u64 {
        let mix = |x: u64| {
            let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        };
        let of_item = mix(self.seed ^ item.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mix(of_item ^ (k << 8 | choice as u64).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }
}

/// Transactions from an item's coming to its version `k`.
fn delay(k: u64) -> u64 {
    k * (k + 1) / 2
}

/// A number below a bound: each power of two as likely as the next, and within them all the same. Integers alone, so
/// that it is the same everywhere.
fn skewed(hash: u64, bound: u64) -> u64 {
    let powers = u64::from(64 - bound.leading_zeros());
    let power = (hash >> 48) % powers;
    let low = 1u64 << power;
    (low + (hash & 0xffff_ffff) % low - 1) % bound
}

#[cfg(test)]
mod tests;
