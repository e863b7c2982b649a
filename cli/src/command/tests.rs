use super::arguments::QueryArguments;
use super::*;
use clap::CommandFactory;
use client::{View, moment};
use db::{Category, Error};

fn query_arguments(arguments: &[&str]) -> QueryArguments {
    let all = ["diachron", "q", "world"].iter().chain(arguments);
    match Arguments::try_parse_from(all).unwrap().command {
        Command::Q(query) => query,
        other => panic!("{other:?}"),
    }
}

fn sources(arguments: &[&str]) -> Result<Vec<(String, View)>, Failure> {
    let arguments = query_arguments(arguments);
    query::sources(&arguments.query, "world", &arguments)
}

#[track_caller]
fn refused(arguments: &[&str]) -> String {
    match sources(arguments).unwrap_err() {
        Failure::Usage(message) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn the_database_is_what_the_query_calls_dollar() {
    let world = |view: View| vec![("$".to_owned(), view)];
    assert_eq!(sources(&["[:find ?e :where [?e]]"]).unwrap(), world(View::of("world")));
    assert_eq!(sources(&["{:find [?e] :where [[?e]]}"]).unwrap(), world(View::of("world")));
    let june = moment("2013-06-01").unwrap();
    assert_eq!(
        sources(&["[:find ?e :in $ ?x :where [?e]]", "--as-of", "2013-06-01"]).unwrap(),
        world(View::of("world").as_of(june))
    );
    assert_eq!(
        sources(&["[:find ?e :in ?x $ :where [?e]]", "--since", "17", "--history"]).unwrap(),
        world(View::of("world").since(moment("17").unwrap()).history())
    );
    // A query over inputs alone asks no database.
    assert_eq!(sources(&["[:find ?x :in [?x ...]]", "--arg", "[1 2]"]).unwrap(), []);
}

#[test]
fn other_sources_are_given_with_db() {
    let query = "{:find [?e] :in [$then $ $new $all] :where [[?e]]}";
    let given = ["--db", "$then=world@1992-06", "--db", "$new=other@since:17", "--db", "$all=@history"];
    let mut arguments = vec![query];
    arguments.extend(given);
    let expected = [
        ("$then", View::of("world").as_of(moment("1992-06").unwrap())),
        ("$", View::of("world")),
        ("$new", View::of("other").since(moment("17").unwrap())),
        ("$all", View::of("world").history()),
    ];
    assert_eq!(sources(&arguments).unwrap(), expected.map(|(source, view)| (source.to_owned(), view)));
}

#[test]
fn sources_that_do_not_fit_the_query_are_usage_errors() {
    let query = "[:find ?e :in $ $then :where [?e]]";
    assert!(refused(&[query]).contains("--db '$then=world'"));
    assert!(refused(&["[:find ?e :where [?e]]", "--db", "$x=world"]).contains("does not name it"));
    assert!(refused(&[query, "--db", "$then=world", "--db", "$then=world"]).contains("twice"));
    assert!(refused(&[query, "--db", "then=world"]).contains("$SOURCE=NAME@X"));
    assert!(refused(&["[:find ?e :in $a]", "--db", "$a=world", "--as-of", "3"]).contains("speak of $"));
}

#[test]
fn negative_numbers_are_arguments_too() {
    assert_eq!(query_arguments(&["[:find ?x :in ?x]", "--arg", "-5"]).args, ["-5"]);
}

#[test]
fn timeouts_are_bounded() {
    assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
    for text in ["0", "-1", "x", "inf", "NaN", "1e9"] {
        assert!(seconds(text).is_err(), "{text}");
    }
}

#[test]
fn every_category_has_an_exit_code_of_its_own() {
    let codes: std::collections::BTreeSet<u8> = Category::ALL.into_iter().map(exit_code).collect();
    assert_eq!(codes.len(), Category::ALL.len());
    assert!(!codes.contains(&0) && !codes.contains(&2));
}

#[test]
fn errors_show_message_code_details_and_what_to_do_next() {
    let error = Error::conflict("db.error/datoms-conflict", "two values for one attribute")
        .with("datoms", db::edn::read("[[1 :a/b 2] [1 :a/b 3]]").unwrap());
    assert_eq!(
        failure::explain(&error),
        "error: two values for one attribute\n  \
         code: :db.error/datoms-conflict (conflict)\n  \
         datoms: [[1 :a/b 2] [1 :a/b 3]]\n  \
         next: nothing was committed; look at the present state, then send what fits it\n"
    );
    let busy = Error::new(Category::Busy, "db.error/queue-full", "full").with(proto::RETRY_AFTER_MS, 250);
    assert!(failure::explain(&busy).contains("next: nothing was done; try again after 250 ms"));
}
