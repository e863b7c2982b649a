//! The case suite (`tests/cases`) against a server: every case by way of a transactor and a peer, over the wire and
//! on a store on disk, and what can be asked again after both have been restarted.
//!
//! Expectations are the files' own. The case's setup is made in process too, for the ids that its tags stand for:
//! the same data gives the same ids anywhere, and that is checked on the way.

#[path = "../../../db/tests/cases/case.rs"]
mod case;
#[path = "../../../db/tests/cases/functions.rs"]
mod functions;
pub mod server;
#[path = "../../../db/tests/cases/world.rs"]
mod world;

use case::Case;
use db::edn::Edn;
use db::{Error, Result};
use diachron_tests::{Client, PATIENCE};
use proto::v1;
use proto::v1::query_input::Kind;
use server::{Clock, Server};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use storage::{Options, Store};
use world::{World, check, clock_at, texts};

/// Databases of one run, and what was set up in each.
#[derive(Default)]
struct Databases {
    /// Cases that change nothing share a database with those of the same setup.
    by_setup: BTreeMap<String, String>,
    count: usize,
}

/// A case whose database stands.
struct Placed<'a> {
    case: &'a Case,
    database: String,
    world: World,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_through_a_peer_and_after_a_restart() {
    every_case_holds(&[]).await;
}

/// So little room for novelty that every database has an index by the time it is asked, and begins with it after the
/// restart.
#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_after_an_index_job_and_after_a_restart_from_it() {
    every_case_holds(&["--novelty-bytes", "1024"]).await;
}

async fn every_case_holds(transactor: &[&str]) {
    let is_indexed = !transactor.is_empty();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sled:{}", dir.path().join("store").display());
    let all: Vec<Case> =
        ["transact", "query", "pull", "time"].into_iter().flat_map(|area| Case::load(&folder(area))).collect();
    let mut failures = Vec::new();

    let (store, clock, mut server) = start(&url, transactor).await;
    let mut databases = Databases::default();
    let mut placed = Vec::new();
    for case in &all {
        match place(&mut server.client, &clock, &mut databases, case).await {
            Ok(place) => placed.push(place),
            Err(failure) => failures.push(told(case, "setting up", &failure)),
        }
    }
    let mut changed = 0;
    for place in &placed {
        if place.case.get("transact").is_some() {
            changed += 1;
            if let Err(failure) = transact(&mut server.client, &clock, place).await {
                failures.push(told(place.case, "through a peer", &failure));
            }
        }
    }
    if is_indexed {
        adopted(&mut server).await;
    }
    let mut asked = 0;
    for place in &placed {
        if let Some(outcome) = ask(&mut server.client, place).await {
            asked += 1;
            outcome.unwrap_or_else(|failure| failures.push(told(place.case, "through a peer", &failure)));
        }
    }
    server.stop().await;
    store.close().unwrap();

    let (store, _, mut server) = start(&url, transactor).await;
    let mut again = 0;
    for place in &placed {
        if let Some(outcome) = ask(&mut server.client, place).await {
            again += 1;
            outcome.unwrap_or_else(|failure| failures.push(told(place.case, "after a restart", &failure)));
        }
    }
    server.stop().await;
    store.close().unwrap();
    println!(
        "{} cases in {} databases: {changed} transacted and {asked} asked through a peer, {again} asked after a restart",
        placed.len(),
        databases.count
    );
    assert!(failures.is_empty(), "{} failures\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(placed.len() >= 400 && asked == again && changed > 0);
}

async fn start(url: &str, transactor: &[&str]) -> (Store, Arc<Clock>, Server) {
    let store = storage::open(url, Options::default()).unwrap();
    let clock = Arc::new(Clock::default());
    let server = Server::start(&store, clock.clone(), functions::functions(), transactor).await;
    (store, clock, server)
}

/// Returns once all that is worth a job is indexed, and the peer reads that.
async fn adopted(server: &mut Server) {
    let begun = Instant::now();
    loop {
        let indexing = server.direct.transactor_status().await;
        let threshold = indexing.indexing.unwrap().threshold_bytes;
        let peer = server.client.peer_status().await;
        let stands = |name: &str| peer.databases.iter().find(|of| of.database.as_ref().unwrap().name == name);
        let is_adopted = |of: &v1::TransactorDatabaseStatus| {
            let stands = stands(&of.database.as_ref().unwrap().name);
            of.novelty_bytes < threshold && stands.is_some_and(|stands| stands.index_t == of.index_t)
        };
        if indexing.databases.iter().all(is_adopted) {
            let count = indexing.databases.iter().filter(|of| of.index_t > 0).count();
            println!("{count} of {} databases have an index", indexing.databases.len());
            assert!(count * 4 >= indexing.databases.len() * 3);
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{indexing:?}\n{peer:?}");
        tokio::task::yield_now().await;
    }
}

fn folder(area: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases").join(area)
}

fn told(case: &Case, when: &str, failure: &str) -> String {
    format!("{} (rule {}) in {}, {when}\n{failure}", case.name, case.rule, case.file)
}

/// Sets a case up in process and on the server, and sees that both did the same.
async fn place<'a>(
    client: &mut Client,
    clock: &Clock,
    databases: &mut Databases,
    case: &'a Case,
) -> std::result::Result<Placed<'a>, String> {
    let mut world = World::default();
    let mut setup = Vec::new();
    for step in &case.setup {
        let tx_data = world.set_up(step)?;
        let datoms = world.transact(&tx_data, None).map_err(|error| format!("in process: {tx_data}: {error:?}"))?;
        setup.push((tx_data, datoms));
    }
    let world = world.knowing(case);
    let key: String = setup.iter().map(|(tx_data, _)| format!("{tx_data}\n")).collect();
    if case.get("transact").is_none()
        && let Some(database) = databases.by_setup.get(&key)
    {
        return Ok(Placed { case, database: database.clone(), world });
    }
    let database = format!("case-{}", databases.count);
    databases.count += 1;
    client.create_database(&database).await;
    for ((tx_data, datoms), t) in setup.iter().zip(1..) {
        clock.set(clock_at(t));
        let response = client.transact(&database, &tx_data.to_string()).await;
        let response = response.map_err(|error| format!("on the server: {tx_data}: {error:?}"))?;
        let schema = world.values[t as usize].schema();
        let expected: Vec<v1::Datom> = datoms.iter().map(|datom| proto::datom(schema, datom)).collect();
        // By their bytes: NaN is no equal of itself.
        let bytes = |datoms: &[v1::Datom]| datoms.iter().map(prost::Message::encode_to_vec).collect::<Vec<_>>();
        if response.t != t || bytes(&response.datoms) != bytes(&expected) {
            return Err(format!("{tx_data}\n  in process {expected:?}\n  on the server {:?}", response.datoms));
        }
    }
    if case.get("transact").is_none() {
        databases.by_setup.insert(key, database.clone());
    }
    Ok(Placed { case, database, world })
}

/// Transacts what the case transacts, as written.
async fn transact(client: &mut Client, clock: &Clock, place: &Placed<'_>) -> std::result::Result<(), String> {
    let Placed { case, database, world } = place;
    let tx_data = world.resolved(case.get("transact").unwrap_or(&Edn::Nil))?;
    let now = match case.get("now") {
        Some(Edn::Inst(now)) => *now,
        _ => clock_at(world.db.basis_t() + 1),
    };
    clock.set(now);
    let response = client.transact(database, &tx_data.to_string()).await;
    // What the tempids became, for what is expected.
    let mut after = world.clone();
    let in_process = after.transact(&tx_data, Some(now));
    let found = match (response, case.get("query")) {
        (Ok(_), Some(query)) => {
            let query = after.resolved(query)?;
            query_of(client, case, &after, database, &query).await
        }
        (response, _) => response.map(|response| form_of(&response.datoms)),
    };
    if let (Ok(_), Err(error)) = (&found, &in_process) {
        return Err(format!("the server took it, in process it was refused: {error:?}"));
    }
    check(case, &after, found, &format!("transacting {tx_data}"))
}

/// `[e attribute v added]`, without the transaction's own instant.
fn form_of(datoms: &[v1::Datom]) -> Edn {
    let form = |datom: &v1::Datom| {
        let value = datom.v.clone().map_or(Ok(Edn::Nil), |value| proto::item(value).map(|item| Edn::from(&item)));
        let value = value.unwrap_or_else(|error| Edn::string(error.to_string()));
        Edn::Vector(vec![Edn::Long(datom.e), Edn::keyword(&datom.attribute), value, Edn::Bool(datom.added)])
    };
    let said = datoms.iter().filter(|datom| datom.attribute != "db/txInstant");
    Edn::Set(said.map(form).collect())
}

/// Asks what the case asks; None for one that asks nothing, or something that has no name on the wire.
async fn ask(client: &mut Client, place: &Placed<'_>) -> Option<std::result::Result<(), String>> {
    let Placed { case, database, world } = place;
    if case.get("transact").is_some() || has(case.get("views"), "value-at") {
        return None;
    }
    if let Some(query) = case.get("query") {
        let query = match world.resolved(query) {
            Ok(query) => query,
            Err(failure) => return Some(Err(failure)),
        };
        let found = query_of(client, case, world, database, &query).await;
        return Some(check(case, world, found, &format!("asking {query}")));
    }
    if let Some(transactions) = case.get("with") {
        return Some(speculate(client, place, database, transactions).await);
    }
    let [pattern, entity] = case.get("pull")?.as_sequence()? else { return None };
    Some(pull(client, place, database, pattern, entity).await)
}

/// What the last of the transactions would do.
async fn speculate(
    client: &mut Client,
    place: &Placed<'_>,
    database: &str,
    transactions: &Edn,
) -> std::result::Result<(), String> {
    let Placed { case, world, .. } = place;
    let transactions = world.resolved(transactions)?;
    let view = Edn::Map(vec![(Edn::keyword("with"), transactions.clone())]);
    let found = client.with(database_view(database, Some(&view)).map_err(|error| error.to_string())?).await;
    let found = found.map(|(basis_t, made)| {
        assert_eq!(basis_t, world.db.basis_t(), "what is only tried leaves the database as it was");
        form_of(made.last().map_or(&[], |last| &last.datoms))
    });
    check(case, world, found, &format!("trying {transactions}"))
}

async fn query_of(client: &mut Client, case: &Case, world: &World, database: &str, query: &Edn) -> Result<Edn> {
    let told = |message: String| Error::incorrect("test/case", message);
    let mut inputs = Vec::new();
    let named = |name: &str, kind: Kind| v1::QueryInput { name: name.into(), kind: Some(kind) };
    let given = case.get("inputs").map_or(Ok(Edn::Vector(vec![])), |inputs| world.resolved(inputs)).map_err(told)?;
    let views = case.get("views").map_or(Ok(Edn::Nil), |views| world.resolved(views)).map_err(told)?;
    let mut given = given.as_sequence().unwrap_or_default().iter();
    let parsed = db::query::Query::parse(query)?;
    for form in parsed.inputs() {
        let name = form.to_string();
        if name.starts_with('$') {
            let view = match &views {
                Edn::Map(entries) => entries.iter().find(|(key, _)| key == form).map(|(_, view)| view),
                _ => None,
            };
            inputs.push(match view.and_then(|view| view.get("relation")) {
                Some(relation) => named(&name, Kind::Edn(relation.to_string())),
                None => named(&name, Kind::Database(database_view(database, view)?)),
            });
        } else if name == "%" && case.get("rules").is_some() {
            let rules = world.resolved(case.get("rules").unwrap_or(&Edn::Nil)).map_err(told)?;
            inputs.push(named("%", Kind::Edn(rules.to_string())));
        } else if let Some(value) = given.next() {
            inputs.push(named("", Kind::Edn(value.to_string())));
        }
    }
    inputs.extend(given.map(|value| named("", Kind::Edn(value.to_string()))));
    let full_scan = case.get("full-scan") == Some(&Edn::Bool(true));
    let answer = if full_scan {
        client.ask_of_all(&query.to_string(), inputs).await?
    } else {
        client.ask(&query.to_string(), inputs, PATIENCE).await?
    };
    let has_rows = matches!(parsed.shape(), db::query::Shape::Relation | db::query::Shape::Collection);
    Ok(match answer {
        Edn::Vector(mut rows) if has_rows => {
            rows.sort();
            Edn::Vector(rows)
        }
        other => other,
    })
}

async fn pull(
    client: &mut Client,
    place: &Placed<'_>,
    database: &str,
    pattern: &Edn,
    entity: &Edn,
) -> std::result::Result<(), String> {
    let Placed { case, world, .. } = place;
    let (pattern, entity) = (world.resolved(pattern)?, world.resolved(entity)?);
    let views = case.get("views").map(|views| world.resolved(views)).transpose()?;
    let view = database_view(database, views.as_ref()).map_err(|error| error.to_string())?;
    let request = v1::PullRequest {
        database: Some(view),
        pattern: pattern.to_string(),
        entity: entity.to_string(),
        format: v1::Format::Edn as i32,
        ..Default::default()
    };
    let response = client.peer.pull(request).await.map(tonic::Response::into_inner);
    let response = response.map_err(|status| proto::error(&status));
    let warnings = response.as_ref().map_or(Vec::new(), |response| response.warnings.clone());
    let found = response.and_then(|response| db::edn::read(&response.edn));
    check(case, world, found, &format!("pulling {pattern} of {entity}"))?;
    for expected in texts(case.get("warnings")) {
        if !warnings.iter().any(|warning| warning.contains(&expected)) {
            return Err(format!("  expected a warning with {expected:?}\n  found {warnings:?}"));
        }
    }
    Ok(())
}

/// A view as the wire names it.
fn database_view(database: &str, view: Option<&Edn>) -> Result<v1::DatabaseView> {
    let mut wire = v1::DatabaseView { name: database.into(), ..Default::default() };
    let Some(Edn::Map(entries)) = view else { return Ok(wire) };
    let point = |form: &Edn| Some(v1::TimePoint { kind: Some(v1::time_point::Kind::Edn(form.to_string())) });
    for (key, value) in entries {
        match key.to_string().as_str() {
            ":as-of" => wire.as_of = point(value),
            ":since" => wire.since = point(value),
            ":history" => wire.history = true,
            ":with" => {
                let transaction = |form: &Edn| v1::TxData { kind: Some(v1::tx_data::Kind::Edn(form.to_string())) };
                wire.with_tx_data = value.as_sequence().unwrap_or_default().iter().map(transaction).collect();
            }
            _ => return Err(Error::incorrect("test/case", format!("{key} is no view"))),
        }
    }
    Ok(wire)
}

/// Whether a key stands anywhere in a form.
fn has(form: Option<&Edn>, key: &str) -> bool {
    match form {
        Some(Edn::Map(entries)) => {
            entries.iter().any(|(found, value)| *found == Edn::keyword(key) || has(Some(value), key))
        }
        Some(Edn::Vector(forms)) => forms.iter().any(|form| has(Some(form), key)),
        _ => false,
    }
}
