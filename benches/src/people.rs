//! The people of the figures: five attributes each, uniform, from a fixed seed.

use db::model::{EntityId, Partition, Value};
use db::schema::ids;
use db::{AttrId, Datom, Db, Instant, Keyword};

pub const NAMES: [&str; 8] = ["Ivan", "Petr", "Sergei", "Oleg", "Yuri", "Dmitry", "Fedor", "Denis"];
pub const LAST_NAMES: [&str; 6] = ["Ivanov", "Petrov", "Sidorov", "Kovalev", "Kuznetsov", "Voronoi"];

pub struct Person {
    pub name: &'static str,
    pub last_name: &'static str,
    pub sex: &'static str,
    pub age: i64,
    pub salary: i64,
}

/// A small seeded generator (splitmix64), so that rows are comparable between runs and systems.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound
    }
}

pub fn people(count: usize) -> Vec<Person> {
    let mut random = Random::new(42);
    (0..count)
        .map(|_| Person {
            name: NAMES[random.below(8) as usize],
            last_name: LAST_NAMES[random.below(6) as usize],
            sex: ["male", "female"][random.below(2) as usize],
            age: random.below(100) as i64,
            salary: random.below(100_000) as i64,
        })
        .collect()
}

pub const ATTRIBUTES: [(&str, &str); 5] = [
    ("person/name", "string"),
    ("person/last-name", "string"),
    ("person/sex", "keyword"),
    ("person/age", "long"),
    ("person/salary", "long"),
];

/// An empty database with the people's attributes, installed below the transaction layer.
pub fn empty_db() -> (Db, [AttrId; 5]) {
    let db = Db::bootstrap();
    let a = |e| db.schema().attr_of_entity(e).expect("a system attribute");
    let mut datoms = vec![Datom::new(EntityId::of_tx(1), a(ids::TX_INSTANT), Value::Instant(Instant(0)), 1, true)];
    for (i, (ident, value_type)) in ATTRIBUTES.iter().enumerate() {
        let e = EntityId::new(Partition::Db, 1024 + i as u64);
        let value_type =
            db.entity_of_ident(&Keyword::new(format!("db.type/{value_type}"))).ok().flatten().expect("a type");
        datoms.push(Datom::new(e, a(ids::IDENT), Value::keyword(ident), 1, true));
        datoms.push(Datom::new(e, a(ids::VALUE_TYPE), Value::Ref(value_type), 1, true));
        datoms.push(Datom::new(e, a(ids::CARDINALITY), Value::Ref(ids::CARDINALITY_ONE), 1, true));
        datoms.push(Datom::new(e, a(ids::INDEX), Value::Boolean(true), 1, true));
    }
    let db = db.commit(1, Instant(0), &datoms).expect("a schema");
    let attrs = ATTRIBUTES.map(|(ident, _)| db.schema().attr_of_ident(&Keyword::new(ident)).expect("installed"));
    (db, attrs)
}

/// The five datoms of a person.
pub fn datoms(person: &Person, e: EntityId, t: u64, attrs: &[AttrId; 5]) -> [Datom; 5] {
    [
        Datom::new(e, attrs[0], Value::string(person.name), t, true),
        Datom::new(e, attrs[1], Value::string(person.last_name), t, true),
        Datom::new(e, attrs[2], Value::keyword(person.sex), t, true),
        Datom::new(e, attrs[3], Value::Long(person.age), t, true),
        Datom::new(e, attrs[4], Value::Long(person.salary), t, true),
    ]
}
