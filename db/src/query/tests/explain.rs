//! What an explanation tells of a run: the steps, how each was read, and rows as they really were.

use super::*;
use crate::budget::{Interrupt, Limits, Stop, Uninterrupted};

fn explained(text: &str, more: &[&str]) -> Explanation {
    let query = Query::parse(&read(text)).unwrap();
    explain(&query, &inputs(&people(), more), &Options::default(), &Budget::unlimited()).unwrap()
}

fn clauses(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.clause.as_str()).collect()
}

#[test]
fn steps_stand_in_the_order_taken_with_what_was_read_and_real_rows() {
    let found =
        explained("[:find ?m (count ?f) :where [?f :p/name ?m] [?e :p/friends ?f] [?e :p/name \"Ann\"]]", &["$"]);
    assert_eq!(
        found.to_string(),
        "[?e :p/name \"Ann\"]   1 → 1 row (expected 1); scan avet by a v\n\
         [?e :p/friends ?f]   1 → 2 rows (expected 2); scan eavt by e a\n\
         [?f :p/name ?m]      2 → 2 rows (expected 2); scan-and-join aevt by a\n\
         :find ?m (count ?f)  2 → 2 rows\n\
         2 rows in the answer, 5 rows made on the way"
    );
    assert_eq!((found.rows, found.stopped, found.cut), (2, None, false));
}

#[test]
fn comparisons_that_became_ranges_are_told_where_they_went() {
    let found = explained("[:find ?e :where [?e :p/age ?a] [(< 20 ?a)] [(<= ?a 40)]]", &["$"]);
    assert_eq!(clauses(&found.steps), ["[?e :p/age ?a]", ":find ?e"]);
    assert_eq!(found.steps[0].ranges, ["[(< 20 ?a)]", "[(<= ?a 40)]"]);
    let read = found.steps[0].reads[0];
    assert_eq!((read.index_name(), read.bound_names().collect::<Vec<_>>()), (Some("avet"), vec!["a", "range"]));
    assert_eq!(found.steps[0].rows_out, Some(1));
}

#[test]
fn blocks_are_told_with_their_clauses() {
    let found = explained(
        "[:find ?n :where [?e :p/name ?n] (or [?e :p/boss ?b] (and [?e :p/kind ?b] [?e :p/age 30]))
          (not [?e :p/tags :y])]",
        &["$"],
    );
    let or = found.steps.iter().find(|step| step.kind == StepKind::Or).unwrap();
    assert_eq!(clauses(&or.steps), ["branch 1", "branch 2"]);
    assert_eq!(clauses(&or.steps[0].steps), ["[?e :p/boss ?b]"]);
    assert_eq!(or.steps[0].rows_out, Some(3));
    let not = found.steps.iter().find(|step| step.kind == StepKind::Not).unwrap();
    assert_eq!(clauses(&not.steps), ["[?e :p/tags :y]"]);
    assert_eq!((not.rows_in, not.rows_out), (4, Some(3)), "Ann alone has the tag");
    assert_eq!(found.rows, 3);
}

#[test]
fn rules_are_told_by_branch_and_recursion_by_branch_and_times() {
    let rules = "%[[(near ?a ?b) [?a :p/friends ?b]] [(near ?a ?b) [?a :p/friends ?m] (near ?m ?b)]
                   [(adult ?a) [?a :p/age ?y] [(>= ?y 21)]]]";
    let found = explained(
        "[:find ?n :in $ % :where [?a :p/name \"Ann\"] (near ?a ?b) (adult ?b) [?b :p/name ?n]]",
        &["$", rules],
    );
    let near = found.steps.iter().find(|step| step.clause == "(near ?a ?b)").unwrap();
    assert_eq!(near.reads, [Read::plain(How::Follow)]);
    assert_eq!(clauses(&near.steps).len(), 2, "one of each branch, however many rounds: {found}");
    assert!(near.steps.iter().any(|step| step.times > 1), "{found}");
    let adult = found.steps.iter().find(|step| step.clause == "(adult ?b)").unwrap();
    assert_eq!(adult.steps[0].kind, StepKind::Branch);
    assert!(adult.steps[0].clause.starts_with("[(adult ?a)"), "{found}");

    let twice = "%[[(near ?a ?b) [?a :p/friends ?b]] [(near ?a ?b) (near ?a ?m) (near ?m ?b)]]";
    let found = explained("[:find ?a ?b :in $ % :where (near ?a ?b)]", &["$", twice]);
    assert_eq!(found.steps[0].reads, [Read::plain(How::Rounds)]);
}

#[test]
fn relations_and_what_stands_for_nothing_are_told() {
    let found = explained("[:find ?x :in $r :where [$r ?x 2]]", &["[[1 2] [3 4]]"]);
    assert_eq!(found.steps[0].reads, [Read::plain(How::Relation)]);
    let found = explained("[:find ?n :where [:no/such :p/name ?n]]", &["$"]);
    assert_eq!(found.steps[0].reads, [Read::plain(How::Nothing)]);
    assert_eq!((found.steps[0].rows_out, found.rows), (Some(0), 0));
}

#[test]
fn a_query_that_a_limit_ended_is_told_as_far_as_it_went() {
    let text = "[:find ?a :in $ [?x ...] :where [?e :p/name \"Ann\"] [?e :p/age ?a] [(+ ?x ?a) ?y] [(> ?y 1)]]";
    let query = Query::parse(&read(text)).unwrap();
    let numbers = format!("[{}]", (0..50_000).map(|i| i.to_string()).collect::<Vec<_>>().join(" "));
    let limits = Limits { rows_max: 60_000, bytes_max: u64::MAX };
    let budget = Budget::new(limits, &Uninterrupted);
    let found = explain(&query, &inputs(&people(), &["$", &numbers]), &Options::default(), &budget).unwrap();
    assert!(found.stopped.as_ref().unwrap().contains("60000 rows"), "{found}");
    assert_eq!(found.steps.last().unwrap().rows_out, None, "{found}");
    assert!(found.steps.len() >= 3 && found.to_string().contains("not ended"), "{found}");

    struct Late(std::cell::Cell<u32>);
    impl Interrupt for Late {
        fn stop(&self) -> Option<Stop> {
            self.0.set(self.0.get() + 1);
            (self.0.get() > 60).then_some(Stop::Deadline)
        }
    }
    // In the middle of the clauses, and while the inputs are bound, which has no steps to tell of.
    for looks in [60, 0] {
        let late = Late(std::cell::Cell::new(60 - looks));
        let budget = Budget::new(Limits::default(), &late);
        let found = explain(&query, &inputs(&people(), &["$", &numbers]), &Options::default(), &budget).unwrap();
        assert!(found.stopped.unwrap().contains("deadline"), "after {looks} looks");
    }
}

#[test]
fn mistakes_stay_errors() {
    let query = Query::parse(&read("[:find ?e :where [?e :p/nam ?n]]")).unwrap();
    let error = explain(&query, &inputs(&people(), &["$"]), &Options::default(), &Budget::unlimited()).unwrap_err();
    assert_eq!(error.code(), "db.error/not-an-entity");
}

#[test]
fn depth_and_number_of_steps_are_bounded() {
    let mut text = "[?e :p/name \"Ann\"]".to_string();
    for _ in 0..60 {
        text = format!("(or {text} [?e :p/name \"Bob\"])");
    }
    let found = explained(&format!("[:find ?e :where {text}]"), &["$"]);
    assert!(found.cut);
    fn depth(steps: &[Step]) -> usize {
        steps.iter().map(|step| 1 + depth(&step.steps)).max().unwrap_or(0)
    }
    assert!(depth(&found.steps) <= 40, "{}", depth(&found.steps));
    assert_eq!(found.rows, 2);
}

#[test]
fn explanations_are_written_as_edn() {
    let found = explained("[:find ?e :where [?e :p/age 20]]", &["$"]);
    assert_eq!(
        found.to_edn(),
        read(
            "{:rows 2 :rows-made 2
              :steps [{:kind :pattern :clause \"[?e :p/age 20]\" :reads [{:how :scan :index :avet :bound [:a :v]}]
                       :rows-expected 2 :rows-in 1 :rows-out 2}
                      {:kind :find :clause \":find ?e\" :rows-in 2 :rows-out 2}]}"
        )
    );
}
