//! What is fed, and what must hold of it.

use crate::corpus;
use db::budget::{Budget, Limits, Uninterrupted};
use db::edn::{self, Edn};
use db::index::segment::{self, Attributes, Meta, Segment, SegmentId};
use db::log::tree::{self, LogSource};
use db::log::{Body, Content, DatabaseId, Frames, Header, LogRoot, RawRecord};
use db::model::{EntityId, Partition};
use db::query::{Input, Options, Query, query_with};
use db::tx::{Functions, TxLimits, transact};
use db::{Db, Instant};
use prost::Message;
use proto::v1;
use sha2::{Digest, Sha256};

/// Something that reads what others send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Edn,
    Query,
    TxData,
    Pull,
    Record,
    Frames,
    Segment,
    Message,
}

/// The database that queries, pulls and transactions are tried on.
pub struct World {
    db: Db,
}

/// Enough for a mutated query to get somewhere, and soon at an end when it explodes.
const LIMITS: Limits = Limits { rows_max: 20_000, bytes_max: 8 << 20 };
const NOW: Instant = Instant(1_700_000_000_000);

impl Target {
    pub const ALL: [Target; 8] = [
        Target::Edn,
        Target::Query,
        Target::TxData,
        Target::Pull,
        Target::Record,
        Target::Frames,
        Target::Segment,
        Target::Message,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Target::Edn => "edn",
            Target::Query => "query",
            Target::TxData => "tx-data",
            Target::Pull => "pull",
            Target::Record => "record",
            Target::Frames => "frames",
            Target::Segment => "segment",
            Target::Message => "message",
        }
    }

    pub fn is_text(self) -> bool {
        matches!(self, Target::Edn | Target::Query | Target::TxData | Target::Pull)
    }

    /// Words that mean something to it.
    pub fn dictionary(self) -> &'static [&'static str] {
        match self {
            Target::Edn => &[
                "nil",
                "true",
                "##NaN",
                "##-Inf",
                "-0.0",
                "1e400",
                "9223372036854775808",
                "1N",
                "1.50M",
                "1/2",
                "0x1f",
                "36rZZ",
                "\\newline",
                "\\u00e9",
                "\"\\ud800\"",
                "#_",
                "#inst \"2024-02-30\"",
                "#inst \"2024\"",
                "#uuid \"x\"",
                "#{",
                "^",
                ":",
                "::a",
                "a/b/c",
                "#:a{",
                "#a",
                ";",
                "\u{0}",
                "\u{feff}",
                "é",
            ],
            Target::Query => &[
                ":find",
                ":with",
                ":in",
                ":where",
                ":keys",
                ":strs",
                ".",
                "...",
                "$",
                "$x",
                "%",
                "_",
                "?e",
                "?x",
                "?y",
                "(count ?x)",
                "(pull ?e [*])",
                "(min 3 ?x)",
                "(not [?e :a/n 1])",
                "(or [?e :a/n 1] [?e :a/n 2])",
                "(not-join [?e] [?e :a/n ?z])",
                "(or-join [[?e] ?x] [?e :a/n ?x])",
                "[(= ?x ?y)]",
                "[(< 1 ?x)]",
                "[(+ ?x 1) ?y]",
                "[(ground [1 2]) [?x ...]]",
                "[(get-else $ ?e :a/n 0) ?y]",
                "[(missing? $ ?e :a/n)]",
                "[?e :a/n ?x ?tx ?op]",
                "[?e ?a ?x]",
                "(r ?e ?x)",
                "nil",
                "-9223372036854775808",
                "[:a/name \"X\"]",
                ":a/n",
                ":db/ident",
                "\"\"",
                "[(str ?x ?y) ?z]",
                "[(re-find \"(a*)*b\" ?x)]",
            ],
            Target::TxData => &[
                ":db/add",
                ":db/retract",
                ":db/retractEntity",
                ":db/cas",
                ":db/id",
                "\"t\"",
                "\"datomic.tx\"",
                ":db/ident",
                ":db/valueType",
                ":db.type/string",
                ":db.type/ref",
                ":db/cardinality",
                ":db.cardinality/many",
                ":db/unique",
                ":db.unique/identity",
                ":db/isComponent",
                ":db/txInstant",
                "#inst \"2023\"",
                ":a/n",
                ":a/name",
                ":a/_friend",
                ":a/parts",
                "[:a/name \"X\"]",
                "nil",
                "1",
                "17592186045440",
                "9223372036854775807",
                "1.5",
                "\"X\"",
                "{:a/n 1}",
                "[[:db/add \"t\" :a/n 1]]",
                "##NaN",
            ],
            Target::Pull => &[
                "*",
                ":a/n",
                ":a/_friend",
                "{:a/friend ...}",
                "{:a/friend 3}",
                "(:a/tags :limit 1)",
                "(:a/n :default 0)",
                "(:a/n :as :x)",
                "[:a/n :limit nil]",
                ":db/id",
                "[:a/name \"X\"]",
                "nil",
                "-1",
                "{:a/parts [*]}",
            ],
            Target::Record | Target::Frames | Target::Segment | Target::Message => {
                &["DIACHRON", "DFRM", "DSEG", "\u{0}\u{0}\u{0}\u{0}"]
            }
        }
    }

    /// Feeds it one input: whether it was taken, or what is wrong with how it was.
    pub fn feed(self, world: &World, input: &[u8]) -> Result<bool, String> {
        match self {
            Target::Edn => read(&String::from_utf8_lossy(input)),
            Target::Query => Ok(ask(world, &String::from_utf8_lossy(input))),
            Target::TxData => change(world, &String::from_utf8_lossy(input)),
            Target::Pull => Ok(pull(world, &String::from_utf8_lossy(input))),
            Target::Record => record(input),
            Target::Frames => frames(input),
            Target::Segment => segment(input),
            Target::Message => message(input),
        }
    }
}

impl World {
    /// Everything that the cases set up and that goes together.
    pub fn new() -> World {
        let mut db = Db::bootstrap();
        let mut say = |form: &Edn| {
            if let Ok(report) = transact(&db, form, NOW, &Functions::builtin(), &TxLimits::default()) {
                db = report.db_after;
            }
        };
        let setup = "[{:db/ident :a/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
                      {:db/ident :a/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one
                       :db/unique :db.unique/identity}
                      {:db/ident :a/tags :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
                      {:db/ident :a/friend :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
                      {:db/ident :a/friends :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
                      {:db/ident :a/parts :db/valueType :db.type/ref :db/cardinality :db.cardinality/many :db/isComponent true}]";
        say(&edn::read(setup).expect("the schema above is EDN"));
        for n in 0..60 {
            let data = format!(
                "[{{:a/name \"N{n}\" :a/n {} :a/tags [\"t{}\" \"u\"] :a/friend {{:a/name \"N{}\"}} :a/parts [{{:a/n {n}}}]}}]",
                n % 7,
                n % 5,
                (n * 13) % 60
            );
            say(&edn::read(&data).expect("the data above is EDN"));
        }
        for form in corpus::case_files() {
            if let Some(attributes) = form.get("schema") {
                // One by one: files may differ in what they call by one name.
                corpus::elements(attributes).iter().for_each(|attribute| say(&corpus::installed(attribute)));
            }
            for transaction in form.get("transactions").map(corpus::elements).unwrap_or_default() {
                say(&corpus::untagged(&transaction));
            }
        }
        World { db }
    }
}

/// What is read is written as text that reads as the same.
fn read(text: &str) -> Result<bool, String> {
    let Ok(forms) = edn::read_all(text) else { return Ok(false) };
    for form in forms {
        let written = form.to_string();
        match edn::read(&written) {
            Ok(again) if again.to_string() == written => {}
            Ok(again) => return Err(format!("written as {written}, read again as {again}")),
            Err(error) => return Err(format!("written as {written}, which is not read: {error}")),
        }
    }
    Ok(true)
}

/// A query's answer is the same when it is asked again of the value as of its own basis.
fn ask(world: &World, text: &str) -> bool {
    let Ok(form) = edn::read(text) else { return false };
    let Ok(query) = Query::parse(&form) else { return false };
    let rules = Edn::Vector(Vec::new());
    let inputs: Vec<Input> = query
        .inputs()
        .map(|form| match form.to_string().as_str() {
            name if name.starts_with('$') => Input::Db(world.db.clone()),
            "%" => Input::Rules(rules.clone()),
            _ => Input::Value(Edn::Long(1)),
        })
        .collect();
    let budget = Budget::new(LIMITS, &Uninterrupted);
    query_with(&query, &inputs, &Options::default(), &budget).is_ok()
}

/// What a transaction says it did is what its value holds.
fn change(world: &World, text: &str) -> Result<bool, String> {
    let Ok(form) = edn::read(text) else { return Ok(false) };
    let Ok(report) = transact(&world.db, &form, NOW, &Functions::builtin(), &TxLimits::default()) else {
        return Ok(false);
    };
    for datom in &report.datoms {
        let pattern = db::Pattern::all().e(datom.e).a(datom.a()).v(&datom.v);
        match report.db_after.first(&pattern) {
            Ok(found) if found.is_some() == datom.added() => {}
            Ok(_) => return Err(format!("{datom:?} was told and is not so")),
            Err(error) => return Err(format!("{datom:?} cannot be looked up: {error}")),
        }
    }
    Ok(true)
}

/// A pattern and an entity in one vector.
fn pull(world: &World, text: &str) -> bool {
    let Ok(Edn::Vector(forms)) = edn::read(text) else { return false };
    let [pattern, entity] = &forms[..] else { return false };
    db::pull::pull(&world.db, pattern, entity, &Budget::new(LIMITS, &Uninterrupted)).is_ok()
}

/// A record is read or refused; and so is its body under a header that was made for it.
fn record(input: &[u8]) -> Result<bool, String> {
    let taken = parsed(input);
    if let Some((bytes, body)) = input.split_at_checked(Header::BYTES)
        && let Ok(mut header) = Header::decode(bytes)
    {
        header.body_hash = Sha256::digest(body).into();
        parsed(&[&header.encode()[..], body].concat());
    }
    Ok(taken)
}

fn parsed(bytes: &[u8]) -> bool {
    let Ok(record) = RawRecord::parse(bytes) else { return false };
    let body: Result<Body, _> = match record.content {
        Content::Body(_) => record.body(),
        Content::OutOfLine(_) => record.body_from(bytes),
    };
    body.is_ok()
}

/// Frames hold exactly the bytes they were read from.
fn frames(input: &[u8]) -> Result<bool, String> {
    let mut again = Vec::new();
    for frame in Frames::new(input) {
        let Ok((bytes, record)) = frame else { return Ok(false) };
        db::log::push_frame(&mut again, bytes, &record.hash);
    }
    if again == input { Ok(true) } else { Err("what was read is not what was there".into()) }
}

/// A segment that is taken is written, and reads as the same; content that is not compressed gets past its header.
fn segment(input: &[u8]) -> Result<bool, String> {
    let mut bytes = input.to_vec();
    if bytes.get(16) == Some(&0) && bytes.len() >= 20 {
        let length = (bytes.len() - 20) as u32;
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
    }
    log_tree(&bytes);
    if let Ok(meta) = Meta::decode(&bytes) {
        let again = meta.encode().and_then(|bytes| Meta::decode(&bytes));
        return if again.as_ref().is_ok_and(|again| *again == meta) { Ok(true) } else { Err(format!("{again:?}")) };
    }
    let attributes = Attributes::new((0..20).map(|i| EntityId::new(Partition::Db, 10 + i * i)));
    let Ok(segment) = Segment::decode(&bytes, &attributes) else { return Ok(false) };
    let again = segment.encode(&attributes).and_then(|bytes| Segment::decode(&bytes, &attributes));
    match again {
        Ok(again) if again == segment && segment.heap_bytes() > 0 => Ok(true),
        again => Err(format!("{segment:?} is written and read as {again:?}")),
    }
}

/// The bytes as the only chunk, and as the only branch, of a log.
fn log_tree(bytes: &[u8]) {
    struct Only<'a>(&'a [u8]);
    impl LogSource for Only<'_> {
        fn fetch(&self, _: &SegmentId) -> db::Result<Vec<u8>> {
            Ok(self.0.to_vec())
        }
    }
    let id = SegmentId { database: DatabaseId([0; 16]), term: 1, job: 1, hash: segment::hash(bytes) };
    for depth in [0, 1] {
        let root = LogRoot { id, bytes: 1, depth, seq: 5, t: 6 };
        tree::records(&root, &Only(bytes), 1).for_each(|record| _ = record);
    }
}

/// A value that is taken travels back as it came.
fn message(input: &[u8]) -> Result<bool, String> {
    let _ = v1::QueryRequest::decode(input);
    let _ = v1::DatabaseView::decode(input);
    let _ = v1::FollowResponse::decode(input);
    let _ = v1::ErrorDetail::decode(input);
    let Ok(value) = v1::Value::decode(input) else { return Ok(false) };
    let Ok(item) = proto::item(value) else { return Ok(false) };
    let again = proto::item(v1::Value::from(&item));
    match again {
        Ok(again) if again == item || format!("{again:?}") == format!("{item:?}") => Ok(true),
        again => Err(format!("{item:?} travels as {again:?}")),
    }
}
