//! The memory index below everything: commits with a snapshot held, scans, seeks, bytes.

use benches::measure::{Figure, repeat};
use benches::{Report, people};
use db::model::{EntityId, Partition, Value};
use db::schema::ids;
use db::{Datom, Db, Instant, Pattern};
use std::ops::ControlFlow;
use std::time::Duration;

fn main() {
    let mut report = Report::new("index");
    let (count_of_people, factor) = if benches::is_quick() { (200, 100) } else { (20_000, 1) };
    let budget = |ms: u64| Duration::from_millis(ms / factor);
    let people = people::people(count_of_people);
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
    let mut tell = |what: &str, figure: Figure| {
        println!("| {what} | {} |", figure.in_ms());
        report.figure(what, figure.median_ms(), "ms");
    };
    println!("| what | median (10 % … 90 %) |\n| --- | --- |");
    tell("commit of one person (6 datoms), the last value held by a reader", Figure::of(runs));

    // All in one transaction.
    let load = repeat(budget(2000), || {
        let datoms: Vec<Datom> =
            people.iter().enumerate().flat_map(|(i, person)| people::datoms(person, e(i), 2, &attrs)).collect();
        empty.commit(2, Instant(2), &datoms).expect("a commit")
    });
    tell(&format!("commit of {} datoms at once", 5 * count_of_people), load);

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
    tell("scan of one name of eight in AVET", repeat(budget(300), || count(&db, &by_name)));
    let ages = Pattern::all().a(attrs[3]);
    tell(&format!("scan of {count_of_people} ages in AEVT"), repeat(budget(300), || count(&db, &ages)));
    let seeks = repeat(budget(500), || {
        let found = |i: &usize| db.value(e(i * 7919 % count_of_people), attrs[3]).expect("a read").is_some();
        (0..count_of_people).filter(found).count()
    });
    tell(&format!("{count_of_people} seeks by entity and attribute, one by one"), seeks);
    for step in [1, 8, 100] {
        let entities: Vec<EntityId> = (0..count_of_people).step_by(step).map(e).collect();
        let probes = repeat(budget(500), || {
            let mut count = 0;
            let found = db.each_of_entities(attrs[3], &entities, |_, datom| {
                count += datom.e.as_u64() & 1;
                ControlFlow::Continue(())
            });
            found.map(|()| count).expect("a read")
        });
        tell(&format!("{} entities looked up in one walk", entities.len()), probes);
    }
    let bytes_a_datom = bytes as f64 / (count_of_people * 6) as f64;
    println!("\n{bytes_a_datom:.0} bytes a datom with all sorts, all five attributes indexed, values included\n");
    report.figure("memory a datom, all sorts", bytes_a_datom, "bytes");
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
