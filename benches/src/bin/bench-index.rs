//! The memory index below everything: commits with a snapshot held, scans, seeks, bytes.

use benches::measure::{Figure, repeat};
use benches::people;
use db::model::{EntityId, Partition, Value};
use db::schema::ids;
use db::{Datom, Db, Instant, Pattern};
use std::ops::ControlFlow;
use std::time::Duration;

const PEOPLE: usize = 20_000;

fn main() {
    let people = people::people(PEOPLE);
    let (empty, attrs) = people::empty_db();
    let instant = empty.schema().attr_of_entity(ids::TX_INSTANT).expect("a system attribute");
    let e = |i: usize| EntityId::new(Partition::User, 2000 + i as u64);

    // One transaction a person, every value kept until the next is made, as a server publishes them.
    let resident = resident_bytes();
    let mut db = empty.clone();
    let mut runs = Vec::new();
    for (i, person) in people.iter().enumerate() {
        let t = db.basis_t() + 1;
        let begun = std::time::Instant::now();
        let tx = Datom::new(EntityId::of_tx(t), instant, Value::Instant(Instant(t as i64)), t, true);
        let mut datoms = people::datoms(person, e(i), t, &attrs).to_vec();
        datoms.push(tx);
        let after = db.commit(t, Instant(t as i64), &datoms).expect("a commit");
        runs.push(begun.elapsed());
        db = after;
    }
    let bytes = resident_bytes().saturating_sub(resident);
    println!("commit one person (6 datoms): {}", Figure::of(runs).in_ms());
    println!("bytes a datom, all sorts, values included: {}", bytes / (PEOPLE * 6));

    // All in one transaction.
    let load = repeat(Duration::from_secs(2), || {
        let datoms: Vec<Datom> =
            people.iter().enumerate().flat_map(|(i, person)| people::datoms(person, e(i), 2, &attrs)).collect();
        empty.commit(2, Instant(2), &datoms).expect("a commit")
    });
    println!("commit 100,000 datoms at once: {}", load.in_ms());

    let ivan = Value::string("Ivan");
    let count = |db: &Db, pattern: &Pattern<'_>| {
        let mut count = 0u64;
        db.each(pattern, |datom| {
            count += datom.e.as_u64() & 1;
            ControlFlow::Continue(())
        })
        .expect("a read");
        count
    };
    let by_name = Pattern::all().a(attrs[0]).v(&ivan);
    println!("scan of one name in AVET: {}", repeat(Duration::from_millis(300), || count(&db, &by_name)).in_ms());
    let ages = Pattern::all().a(attrs[3]);
    println!("scan of {PEOPLE} ages in AEVT: {}", repeat(Duration::from_millis(300), || count(&db, &ages)).in_ms());
    let seeks = repeat(Duration::from_millis(500), || {
        (0..PEOPLE).filter(|i| db.value(e(i * 7919 % PEOPLE), attrs[3]).expect("a read").is_some()).count()
    });
    println!("{PEOPLE} seeks by e and a: {}", seeks.in_ms());
    for step in [1, 8, 100] {
        let entities: Vec<EntityId> = (0..PEOPLE).step_by(step).map(e).collect();
        let probes = repeat(Duration::from_millis(500), || {
            let mut count = 0;
            let found = db.each_of_entities(attrs[3], &entities, |_, datom| {
                count += datom.e.as_u64() & 1;
                ControlFlow::Continue(())
            });
            found.map(|()| count).expect("a read")
        });
        println!("{} entities probed at once for their age: {}", entities.len(), probes.in_ms());
    }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
