//! Writers that give a database a past: values that change, sets that grow and shrink, references, entities that go.

use crate::kills::below;
use db::Category;
use diachron_tests::Client;
use process::SeededEntropy;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

pub const SCHEMA: &str = "[
    {:db/ident :item/id :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
    {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/index true}
    {:db/ident :item/tag :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
    {:db/ident :item/text :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
    {:db/ident :item/next :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
    {:db/ident :mark/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/value}]";

pub const WRITERS: usize = 4;
/// Items of a writer; few, so that they change often.
const ITEMS: u64 = 30;
/// Some forty texts fill a leaf of a tree.
const TEXT_BYTES: usize = 1600;

/// Every item, with so much text that trees have several leaves.
pub fn items(seed: u64) -> String {
    let random = SeededEntropy::new(seed);
    let mut item = |n: usize| {
        let (writer, k) = (n % WRITERS, n / WRITERS);
        format!("{{:item/id \"item {writer} {k}\" :item/n {n} :item/text \"{}\"}}", text(&random))
    };
    let items: Vec<String> = (0..WRITERS * ITEMS as usize).map(&mut item).collect();
    format!("[{}]", items.join(" "))
}

#[derive(Default)]
pub struct Load {
    /// Each transaction has a mark that no other has: those acknowledged, with their t.
    acknowledged: Mutex<BTreeMap<String, u64>>,
    newest: AtomicU64,
    /// Writers go no further, so that those who ask keep up.
    pub pace: Option<AtomicU64>,
    pub done: AtomicBool,
    /// How often something was started again.
    pub starts: watch::Sender<usize>,
}

impl Load {
    /// Writers go no further than this t, until somebody says so.
    pub fn paced(t: u64) -> Load {
        Load { pace: Some(t.into()), ..Load::default() }
    }

    pub fn acknowledged(&self) -> BTreeMap<String, u64> {
        self.acknowledged.lock().unwrap().clone()
    }

    /// The newest t that was acknowledged.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    fn note(&self, mark: String, t: u64) {
        self.acknowledged.lock().unwrap().insert(mark, t);
        self.newest.fetch_max(t, Ordering::SeqCst);
    }

    /// Writes so many transactions, or until all is done; a transaction that fails is not made again.
    pub async fn write(self: Arc<Self>, mut client: Client, direct: bool, number: usize, count: usize, seed: u64) {
        let random = SeededEntropy::new(seed.wrapping_add(number as u64));
        let mut starts = self.starts.subscribe();
        for n in 0..count {
            if self.done.load(Ordering::SeqCst) {
                return;
            }
            while self.pace.as_ref().is_some_and(|most| self.newest() > most.load(Ordering::SeqCst)) {
                tokio::task::yield_now().await;
            }
            let starts_before = *starts.borrow_and_update();
            let mark = format!("writer {number} transaction {n}");
            let tx_data = format!("[{{:mark/name {mark:?}}} {}]", change(&random, number, n));
            let answered = if direct {
                client.transact_directly("items", &tx_data).await
            } else {
                client.transact("items", &tx_data).await
            };
            match answered {
                Ok(response) => self.note(mark, response.t),
                // An item that is not there, or not any more.
                Err(error) if error.category() == Category::NotFound => {}
                Err(error) => {
                    let expected = [
                        Category::Unavailable,
                        Category::Busy,
                        Category::Fenced,
                        Category::Unknown,
                        Category::Interrupted,
                    ];
                    assert!(expected.contains(&error.category()), "{tx_data}: {error:?}");
                    let back = starts.wait_for(|starts| *starts != starts_before);
                    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), back).await;
                }
            }
        }
    }
}

fn text(random: &SeededEntropy) -> String {
    (0..TEXT_BYTES / 16).map(|_| format!("{:016x}", below(random, u64::MAX))).collect()
}

fn change(random: &SeededEntropy, writer: usize, n: usize) -> String {
    let item = |k: u64| format!("\"item {writer} {k}\"");
    let (this, other) = (item(below(random, ITEMS)), item(below(random, ITEMS)));
    let tag = below(random, 4);
    match below(random, 10) {
        0..=2 => format!("{{:item/id {this} :item/n {n} :item/tag \"tag {tag}\"}}"),
        3..=4 => format!("{{:item/id {this} :item/text \"{}\"}}", text(random)),
        5 => format!("[:db/retract [:item/id {this}] :item/tag \"tag {tag}\"]"),
        6 => format!("[:db/retractEntity [:item/id {this}]]"),
        7 => format!("{{:item/id {this} :item/tag [\"tag {tag}\" \"tag of writer {writer}\"]}}"),
        _ => format!("{{:db/id \"other\" :item/id {other}}} {{:item/id {this} :item/next \"other\" :item/n {n}}}"),
    }
}
