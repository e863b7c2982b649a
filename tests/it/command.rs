//! The `diachron` command against real processes: CSV, the shell.

use diachron_tests::{Flock, Program, binary};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the command with a peer; exit code, stdout, stderr.
pub(crate) fn diachron(peer: &Program, arguments: &[&str], input: &str) -> (i32, String, String) {
    run(peer, arguments, &[], input)
}

/// The same with environment variables of its own.
pub(crate) fn diachron_with(peer: &Program, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    run(peer, arguments, environment, "")
}

fn run(peer: &Program, arguments: &[&str], environment: &[(&str, &str)], input: &str) -> (i32, String, String) {
    let mut command = Command::new(binary("diachron"));
    command
        .args(arguments)
        .env("DIACHRON_PEER", peer.url())
        .env("XDG_CONFIG_HOME", "/nowhere")
        .envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const SCHEMA: &str = "[{:db/ident :city/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one,
                        :db/unique :db.unique/identity}
                       {:db/ident :city/people, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}
                       {:db/ident :city/founded, :db/valueType :db.type/instant, :db/cardinality :db.cardinality/one}
                       {:db/ident :city/twins, :db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}
                       {:db/ident :city/names, :db/valueType :db.type/string, :db/cardinality :db.cardinality/many}]";

const MAPPING: &str = r#"{:columns {"city" :city/name
           "people" :city/people
           "founded" :city/founded
           "twins" {:attribute :city/twins, :ref :city/name, :create true, :separator ";"}
           "names" {:attribute :city/names, :separator ";"}}
 :identity "city"
 :null ["" "?"]}"#;

#[test]
fn a_csv_file_comes_in_typed_with_references_and_comes_in_again_without_change() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let schema = file(flock.dir(), "schema.edn", SCHEMA);
    let map = file(flock.dir(), "map.edn", MAPPING);
    let csv = file(
        flock.dir(),
        "cities.csv",
        "city,people,founded,twins,names\nLima,10000000,1535-01-18,Austin;Madrid,Ciudad de los Reyes;Lima\n\
         Madrid,3300000,?,Lima,\nLima,10100000,,,\n",
    );
    assert_eq!(diachron(&peer, &["import", "--create", "world", &schema], "").0, 0);
    let import = ["import", "world", "--csv", &csv, "--map", &map];
    let (code, stdout, stderr) = diachron(&peer, &import, "");
    assert_eq!(code, 0, "{stderr}");
    // The second row about Lima begins a transaction of its own.
    assert!(stdout.starts_with("2 transactions, "), "{stdout}");

    let all = "[:find ?name ?people :where [?c :city/name ?name] [(get-else $ ?c :city/people 0) ?people]]";
    let (_, rows, _) = diachron(&peer, &["q", "world", all, "--format", "csv"], "");
    assert_eq!(rows, "?name,?people\nAustin,0\nLima,10100000\nMadrid,3300000\n");
    let pull = ["pull", "world", "[:city/founded :city/names {:city/twins [:city/name]}]", "[:city/name \"Lima\"]"];
    let (_, lima, _) = diachron(&peer, &[&pull[..], &["--format", "json"]].concat(), "");
    let expected = [
        "\":city/founded\":\"1535-01-18T00:00:00.000Z\"",
        "\":city/names\":[\"Ciudad de los Reyes\",\"Lima\"]",
        "\":city/twins\":[{\":city/name\":\"Austin\"},{\":city/name\":\"Madrid\"}]",
    ];
    assert!(expected.iter().all(|part| lima.contains(part)), "{lima}");

    // The same again says nothing new but its own instants and the first row of Lima, overtaken at once.
    let (code, again, _) = diachron(&peer, &import, "");
    assert!(code == 0 && again.starts_with("2 transactions, 6 datoms"), "{again}");

    let bad = file(flock.dir(), "bad.csv", "city,people,founded,twins,names\nOslo,700000,,,\nBern,many,,,\n");
    let (code, _, stderr) = diachron(&peer, &["import", "world", "--csv", &bad, "--map", &map], "");
    assert!(code == 1 && stderr.contains("bad.csv line 3, column `people`: `many` is no long"), "{stderr}");
}

#[test]
fn the_shell_reads_forms_and_commands_from_a_pipe_and_errors_do_not_end_it() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    assert_eq!(diachron(&peer, &["db", "create", "world"], "").0, 0);
    let input = format!(
        ":transact {SCHEMA}
         ; A comment, and a transaction of several lines.
         :transact [{{:city/name \"Lima\",
                      :city/people 1}}]
         :transact [[:db/add [:city/name \"Lima\"] :city/people 2]]
         [:find ?name ?people
          :where [?c :city/name ?name]   ; which ones
                 [?c :city/people ?people]]
         [:find ?nope :where [?c :city/nmae ?nope]]
         :as-of 2
         [:find ?people . :in $ ?name :where [?c :city/name ?name] [?c :city/people ?people]] \"Lima\"
         :now
         :source $then=@2
         :rules [[(people ?c ?n) [?c :city/people ?n]]]
         [:find [?now ?then] :in $ $then % :where [?c :city/name] (people ?c ?now) ($then people ?c ?then)]
         [:find ?n . :where [_ :city/people ?n]]
         :history
         [:find (count ?n) . :where [_ :city/people ?n]]
         :pull [*] 17
         :now
         :pull [:city/name] [:city/name \"Lima\"]
         :schema city/p
         :frobnicate
         [:find ?x :where [?x :city/name"
    );
    let (code, stdout, stderr) = diachron(&peer, &["shell", "--format", "json"], &input);
    // What transactions came to is not shown here.
    let lines: Vec<&str> = stdout.lines().filter(|line| !line.starts_with("{\"t\":")).collect();
    assert_eq!(
        lines,
        [
            "[\"Lima\",2]",
            "[1]",
            "[2,1]",
            "[2]",
            "[2]",
            "{\":city/name\":\"Lima\"}",
            "{\"attribute\":\":city/people\",\"type\":\":long\",\"cardinality\":\":one\",\"unique\":null,\"doc\":\"\"}",
        ],
        "{stderr}"
    );
    assert_eq!(stderr.matches("error: ").count(), 4, "{stderr}");
    assert!(stderr.contains(":city/nmae"), "{stderr}");
    assert!(stderr.contains("there is no command :frobnicate"), "{stderr}");
    // The first failure tells how it ended: an attribute that is not there.
    assert_eq!(code, 4, "{stderr}");
    let (code, stdout, _) = diachron(&peer, &["shell", "world"], ":quit\n[:find ?x");
    assert_eq!((code, stdout.as_str()), (0, ""));
}

#[test]
fn explain_shows_the_steps_of_a_query_for_people_and_for_programs() {
    let flock = Flock::start();
    let peer = flock.start_peer();
    let schema = file(flock.dir(), "schema.edn", SCHEMA);
    assert_eq!(diachron(&peer, &["import", "--create", "world", &schema], "").0, 0);
    let data = r#"[{:city/name "Lima", :city/people 10000000} {:city/name "Cusco", :city/people 428000}]"#;
    assert_eq!(diachron(&peer, &["transact", "world", "-"], data).0, 0);
    let query = "[:find ?name :where [?c :city/name ?name] [?c :city/people ?n] [(> ?n 1000000)]]";
    let (code, stdout, stderr) = diachron(&peer, &["explain", "world", query], "");
    assert_eq!(code, 0, "{stderr}");
    for told in ["[?c :city/name ?name]", "[?c :city/people ?n]", "1 row in the answer"] {
        assert!(stdout.contains(told), "{told}: {stdout}");
    }
    let (code, stdout, _) = diachron(&peer, &["explain", "world", query, "--format", "edn"], "");
    assert_eq!(code, 0);
    let form = db::edn::read(&stdout).unwrap();
    assert_eq!(form.get("rows"), Some(&db::edn::Edn::Long(1)), "{form}");
    let (code, _, stderr) = diachron(&peer, &["explain", "world", "[:find ?x :where [?c :city/name ?n]]"], "");
    assert_eq!(code, 1, "{stderr}");
}
