//! The shell on a terminal: what a person types, and what the screen shows.

use diachron_tests::{Flock, Program, Terminal, keys};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

const SCHEMA: &str = "[{:db/ident :city/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
                        :db/unique :db.unique/identity}
                       {:db/ident :city/people, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}]";

const PROMPT: &str = "world> ";
/// What stands before the further lines of an input.
const MORE: &str = "… ";
const PEOPLE: &str = "[:find ?name ?people :where [?c :city/name ?name] [?c :city/people ?people]]";

/// A peer with a small database: Lima is told of at t 2, and changed at t 3, where Cusco comes.
async fn world(flock: &Flock) -> Program {
    let peer = flock.start_peer();
    let mut client = flock.client(&peer).await;
    client.create_database("world").await;
    client.transact("world", SCHEMA).await.unwrap();
    client.transact("world", r#"[{:city/name "Lima", :city/people 1}]"#).await.unwrap();
    let later = r#"[{:city/name "Lima", :city/people 2} {:city/name "Cusco", :city/people 3}]"#;
    client.transact("world", later).await.unwrap();
    peer
}

/// A shell at its first prompt, with its history in the directory.
fn shell(peer: &Program, state: &Path) -> Terminal {
    let state = state.to_str().unwrap();
    let environment = [("DIACHRON_PEER", peer.url()), ("XDG_CONFIG_HOME", "/nowhere"), ("XDG_STATE_HOME", state)];
    let terminal = Terminal::start("diachron", &["shell", "world"], &environment);
    terminal.wait_for_prompt(PROMPT);
    terminal
}

/// Leaves it as people do.
fn leave(mut terminal: Terminal) {
    terminal.press(keys::CONTROL_D);
    assert_eq!(terminal.wait().code(), Some(0));
}

#[track_caller]
fn assert_shows(lines: &[String], table: &[&str]) {
    assert_eq!(lines[..table.len().min(lines.len())], *table, "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_on_until_its_brackets_are_closed_and_errors_do_not_end_the_shell() {
    let flock = Flock::start();
    let peer = world(&flock).await;
    let mut terminal = shell(&peer, flock.dir());

    let [first, last] = [":where [?c :city/name ?name]", "[?c :city/people ?people]]"];
    terminal.enter("[:find ?name ?people", MORE);
    terminal.enter(first, MORE);
    let table = terminal.enter(last, PROMPT);
    assert_shows(&table, &["?name  ?people", "-----  -------", "Cusco        3", "Lima         2"]);
    assert!(table.last().unwrap().starts_with("2 rows, ") && table.last().unwrap().contains("world at t 3"));

    let told = terminal.enter("[:find ?x :where [?c :city/nmae ?x]]", PROMPT).join("\n");
    assert!(told.contains("error: ") && told.contains(":city/name"), "{told}");
    let told = terminal.enter(":shcema", PROMPT).join("\n");
    assert!(told.contains("do you mean schema?"), "{told}");

    let then = "world as of 2> ";
    assert!(terminal.enter(":as-of 2", then).is_empty());
    assert_shows(&terminal.enter(PEOPLE, then), &["?name  ?people", "-----  -------", "Lima         1"]);
    assert!(terminal.enter(":now", PROMPT).is_empty());

    let told = terminal.enter(&format!(":explain {PEOPLE}"), PROMPT).join("\n");
    assert!(told.contains("[?c :city/people ?people]") && told.contains("2 rows in the answer"), "{told}");
    let one = r#":explain [:find ?c :in $ ?name :where [?c :city/name ?name]] "Lima""#;
    let told = terminal.enter(one, PROMPT).join("\n");
    assert!(told.contains("1 row in the answer"), "{told}");
    let help = terminal.enter(":help", PROMPT).join("\n");
    assert!(help.contains("  :explain QUERY"), "{help}");
    leave(terminal);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tab_key_completes_and_the_arrows_bring_back_what_was_typed_in_this_shell_and_the_next() {
    let flock = Flock::start();
    let peer = world(&flock).await;
    let mut terminal = shell(&peer, flock.dir());

    // One that fits is taken.
    terminal.type_text("[:find ?n :where [_ :city/p");
    terminal.press(keys::TAB);
    terminal.wait_until("the attribute", |screen| screen.before_cursor().ends_with("[_ :city/people"));
    assert_shows(&terminal.enter(" ?n]]", PROMPT), &["?n", "--", " 2", " 3"]);
    // Of several, what they begin with; then one is chosen among those shown.
    terminal.type_text("[:find ?n :where [_ :ci");
    terminal.press(keys::TAB);
    terminal.wait_until("what they begin with", |screen| screen.before_cursor().ends_with("[_ :city/"));
    terminal.wait_until("both, with what they are", |screen| {
        let below = |rows: usize| screen.line(screen.cursor_line() + rows);
        below(1) == ":city/name    string, unique identity" && below(2) == ":city/people  long"
    });
    terminal.press(keys::ENTER);
    terminal.wait_until("the first", |screen| screen.before_cursor().ends_with("[_ :city/name"));
    assert_shows(&terminal.enter(" ?n]]", PROMPT), &["?n", "-----", "Cusco", "Lima"]);

    terminal.press(keys::UP);
    terminal.wait_until("the last", |screen| screen.before_cursor().ends_with(":city/name ?n]]"));
    terminal.press(keys::UP);
    terminal.wait_until("the one before", |screen| screen.before_cursor().ends_with(":city/people ?n]]"));
    assert_shows(&terminal.enter_typed(PROMPT), &["?n", "--", " 2", " 3"]);
    leave(terminal);

    let mut terminal = shell(&peer, flock.dir());
    terminal.press(keys::UP);
    terminal.wait_until("the last of before", |screen| screen.before_cursor().ends_with(":city/people ?n]]"));
    assert_shows(&terminal.enter_typed(PROMPT), &["?n", "--", " 2", " 3"]);
    leave(terminal);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_c_leaves_an_input_and_cancels_what_runs_but_does_not_end_the_shell() {
    let flock = Flock::start();
    let peer = world(&flock).await;
    let mut terminal = shell(&peer, flock.dir());

    terminal.enter("[:find ?name", MORE);
    terminal.type_text(":where");
    terminal.press(keys::CONTROL_C);
    terminal.wait_for_prompt(PROMPT);

    // A peer that stands still answers nothing: what is asked runs until it is cancelled.
    let peer_id = Pid::from_raw(peer.id().try_into().unwrap()).unwrap();
    kill_process(peer_id, Signal::STOP).unwrap();
    for (input, told) in [
        (PEOPLE, "cancelled"),
        (r#":transact [[:db/add [:city/name "Lima"] :city/people 4]]"#, "it may have been committed"),
    ] {
        terminal.type_text(input);
        terminal.press(keys::ENTER);
        terminal.wait_until_interruptible();
        terminal.press(keys::CONTROL_C);
        terminal.wait_until(told, |screen| {
            screen.before_cursor() == PROMPT && screen.text().lines().rev().take(3).any(|line| line.contains(told))
        });
    }
    kill_process(peer_id, Signal::CONT).unwrap();
    let one = r#"[:find ?name . :where [?c :city/people 3] [?c :city/name ?name]]"#;
    let lines = terminal.enter(one, PROMPT);
    assert!(lines.iter().any(|line| line == "Cusco"), "{lines:#?}");
    leave(terminal);
}
