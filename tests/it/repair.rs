//! Bytes of stored segments are flipped; what is damaged is named, and made anew from the log.

use crate::command::diachron;
use diachron_tests::{Client, Flock, Program};
use std::path::Path;
use storage::{DatabaseId, Options, SegmentKey};
use stores::log::{LogReader, key_of};

const SCHEMA: &str = "[{:db/ident :item/id :db/valueType :db.type/long :db/cardinality :db.cardinality/one
                        :db/unique :db.unique/identity}
                       {:db/ident :item/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]";

const EAGER: [(&str, &str); 2] = [("DIACHRON_NOVELTY_BYTES", "65536"), ("DIACHRON_GC_EVERY", "0")];

const QUESTIONS: [&str; 3] = [
    "[:find (count ?e) (sum ?n) :with ?e :where [?e :item/n ?n]]",
    "[:find ?e ?n :where [?e :item/id 7] [?e :item/n ?n]]",
    "[:find (max ?n) (min ?n) :where [_ :item/n ?n]]",
];

/// What is to be flipped of an index.
enum Part {
    Tree,
    Meta,
}

/// A segment that the newest index names.
fn segment(store: &storage::Store, id: DatabaseId, part: &Part) -> SegmentKey {
    let (journal, segments) = (store.journal(), store.segments());
    let head = journal.head(id).unwrap().unwrap();
    let (header, body) = LogReader::new(&*journal, &*segments).index(id, head.index_seq).unwrap().unwrap();
    match part {
        Part::Tree => key_of(header.lineage, &body.current.of(db::index::Sort::Eavt).unwrap().id),
        Part::Meta => key_of(header.lineage, &body.meta.id),
    }
}

/// Flips a byte of a segment where it lies in a pack of a stopped store, and says which segment that is.
fn flip(flock: &Flock, id: DatabaseId, part: &Part) -> String {
    let store = storage::open(&flock.store(), Options::default()).unwrap();
    let key = segment(&store, id, part);
    let bytes = store.segments().get(&key).unwrap().unwrap();
    store.close().unwrap();
    let packs = Path::new(flock.store().strip_prefix("sled:").unwrap()).join("packs");
    for path in std::fs::read_dir(packs).unwrap().map(|entry| entry.unwrap().path()) {
        let mut pack = std::fs::read(&path).unwrap();
        if let Some(at) = pack.windows(bytes.len()).position(|window| window == bytes) {
            pack[at + bytes.len() / 2] ^= 0x10;
            std::fs::write(&path, pack).unwrap();
            return key.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        }
    }
    panic!("{key:?} is in no pack");
}

fn answers(peer: &Program) -> Vec<String> {
    let ask = |question: &&str| {
        let (code, stdout, stderr) = diachron(peer, &["q", "items", question], "");
        assert_eq!(code, 0, "{question}: {stderr}");
        stdout
    };
    QUESTIONS.iter().map(ask).collect()
}

async fn write(client: &mut Client, rounds: u64) -> u64 {
    let mut t = 0;
    for round in 0..rounds {
        let items: String = (0..50).map(|i| format!("{{:item/id {i} :item/n {}}}", round * 50 + i)).collect();
        t = client.transact("items", &format!("[{items}]")).await.unwrap().t;
    }
    t
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_is_named_and_the_trees_are_made_anew_from_the_log() {
    let mut flock = Flock::start_with(&EAGER);
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    let id = client.create_database("items").await;
    client.transact("items", SCHEMA).await.unwrap();
    let mut t = write(&mut client, 60).await;
    client.sync("items", Some(t)).await.unwrap();
    let mut before = answers(&peer);
    for part in [Part::Tree, Part::Meta] {
        flock.take_transactor().kill();
        let hash = flip(&flock, DatabaseId(id.id[..].try_into().unwrap()), &part);
        flock.restart_transactor_with(&EAGER);
        let url = flock.transactor_url();
        let run = |more: &[&str]| diachron(&peer, &[&["verify", "items", "--transactor", &url], more].concat(), "");
        let (code, stdout, stderr) = run(&[]);
        assert!(code == 12 && stdout.contains(&hash), "{code}: {stdout} {stderr}");
        let (code, stdout, stderr) = run(&["--repair"]);
        assert!(code == 0 && stdout.contains("made anew from the log"), "{code}: {stdout} {stderr}");
        let (code, stdout, stderr) = run(&[]);
        assert!(code == 0 && stdout.contains("no fault was found"), "{code}: {stdout} {stderr}");
        // Who was there all the time adopts the new trees, and who comes now begins with them.
        client.sync("items", Some(t)).await.unwrap();
        assert_eq!(answers(&peer), before);
        let other = flock.start_peer();
        let mut others = flock.client(&other).await;
        others.sync("items", Some(t)).await.unwrap();
        assert_eq!(answers(&other), before);
        t = write(&mut client, 20).await;
        client.sync("items", Some(t)).await.unwrap();
        before = answers(&peer);
    }
}
