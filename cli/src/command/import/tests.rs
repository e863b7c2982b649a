use super::*;
use crate::attributes::Attribute;
use db::model::ValueType;

fn attributes() -> Attributes {
    let attribute = |value_type, many, unique: Option<&str>| Attribute {
        value_type,
        many,
        unique: unique.map(str::to_owned),
        doc: String::new(),
    };
    [
        ("country/code", attribute(ValueType::String, false, Some("identity"))),
        ("country/name", attribute(ValueType::String, false, None)),
        ("country/area", attribute(ValueType::Long, false, None)),
        ("country/continent", attribute(ValueType::Ref, false, None)),
        ("country/borders", attribute(ValueType::Ref, true, None)),
        ("country/languages", attribute(ValueType::String, true, None)),
        ("continent/code", attribute(ValueType::String, false, Some("value"))),
    ]
    .into_iter()
    .collect()
}

fn mapping(text: &str) -> Option<Mapping> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mapping.edn");
    std::fs::write(&path, text).unwrap();
    Some(Mapping::read(path.to_str().unwrap()).unwrap())
}

fn all(csv: &str, mapping: Option<Mapping>, batch: usize) -> Result<Vec<(String, String)>> {
    let mut rows = Rows::new(csv.as_bytes(), "f.csv".into(), mapping, &attributes(), batch)?;
    let mut parcels = Vec::new();
    while let Some(parcel) = rows.next_parcel()? {
        assert!(parcel.end_offset <= csv.len() as u64);
        parcels.push((parcel.text, parcel.place));
    }
    Ok(parcels)
}

#[track_caller]
fn refused(csv: &str, mapping: Option<Mapping>) -> String {
    all(csv, mapping, 10).unwrap_err().message().to_owned()
}

const COUNTRIES: &str = r#"{:columns {"code" :country/code "name" :country/name "area" :country/area
    "continent" {:attribute :country/continent :ref :continent/code}
    "borders" {:attribute :country/borders :ref :country/code :create true :separator "|"}
    "languages" {:attribute :country/languages :separator "|"}}
  :identity "code" :null ["" "NA"]}"#;

#[test]
fn rows_become_maps_of_the_types_that_the_schema_says() {
    let csv = "code,name,area,continent,borders,languages,more\n\
               PE,\"Peru, \"\"the\"\"\",1285220,SA,CL|BO,es| qu,x\n\
               AQ,Antarctica,NA,,,,y\n";
    let parcels = all(csv, mapping(COUNTRIES), 10).unwrap();
    assert_eq!(
        parcels,
        [(
            "[{:country/code \"PE\" :country/name \"Peru, \\\"the\\\"\" :country/area 1285220 \
             :country/continent [:continent/code \"SA\"] \
             :country/borders [{:country/code \"CL\"} {:country/code \"BO\"}] :country/languages [\"es\" \"qu\"]}\n\
             {:country/code \"AQ\" :country/name \"Antarctica\"}]"
                .to_owned(),
            "f.csv lines 2 to 3".to_owned()
        )]
    );
    // What is written is what the reader reads.
    assert!(db::edn::read(&parcels[0].0).is_ok());
}

#[test]
fn a_header_of_attributes_needs_no_mapping() {
    let csv = "\u{feff}country/code,:country/area\nPE,1\n\nFR,2\n";
    let texts: Vec<String> = all(csv, None, 1).unwrap().into_iter().map(|(text, _)| text).collect();
    assert_eq!(texts, ["[{:country/code \"PE\" :country/area 1}]", "[{:country/code \"FR\" :country/area 2}]"]);
}

#[test]
fn a_batch_never_speaks_of_one_entity_twice() {
    let mapping = mapping(r#"{:columns {"c" :country/code "a" :country/area} :identity "c" :delimiter ";"}"#);
    let csv = "c;a\nPE;1\nFR;2\nPE;3\nDE;4\n";
    let places: Vec<String> = all(csv, mapping, 10).unwrap().into_iter().map(|(_, place)| place).collect();
    assert_eq!(places, ["f.csv lines 2 to 3", "f.csv lines 4 to 5"]);
}

#[test]
fn constants_are_said_of_every_row() {
    let mapping = mapping(r#"{:columns {"c" :country/code} :constants {:country/name "n"}}"#);
    assert_eq!(all("c\nPE\n", mapping, 10).unwrap()[0].0, "[{:country/code \"PE\" :country/name \"n\"}]");
}

#[test]
fn errors_name_line_and_column() {
    let countries = || mapping(COUNTRIES);
    let header = "code,name,area,continent,borders,languages\n";
    assert_eq!(
        refused(&format!("{header}PE,Peru,1,SA,,\nFR,\"Fra\nnce\",large,EU,,\n"), countries()),
        "f.csv line 3, column `area`: `large` is no long"
    );
    assert_eq!(refused(&format!("{header}PE,Peru\n"), countries()), "f.csv line 2: the row has 2 fields, the header 6");
    assert!(
        refused(&format!("{header},Peru,1,SA,,\n"), countries())
            .contains("line 2, column `code`: the :identity has no")
    );
    assert!(refused("code,nam\n", countries()).contains("a column `name`, which is not there; do you mean nam?"));
    assert!(refused("", None).contains("no header"));
    assert!(refused("a,a\n", None).contains("twice"));
    assert_eq!(
        refused("country/nmae\n", None),
        "f.csv, column `country/nmae`: the database has no attribute :country/nmae; do you mean country/name?; \
         transact the schema first"
    );
    assert!(refused("country/continent\nSA\n", None).contains("`SA` is no ref: say with :ref"));
    let of = |text| refused("c\nx\n", mapping(text));
    assert!(of(r#"{:columns {"c" {:attribute :country/name :ref :country/code}}}"#).contains(":ref is for references"));
    assert!(of(r#"{:columns {"c" {:attribute :country/continent :ref :country/name}}}"#).contains("not :db/unique"));
    assert!(of(r#"{:columns {"c" {:attribute :country/name :separator "|"}}}"#).contains(":separator is for many"));
    assert!(of(r#"{:columns {"c" :country/name} :identity "c"}"#).contains("no :db.unique/identity"));
}

#[test]
fn an_import_that_stopped_says_where_to_go_on() {
    let arguments = ImportArguments::of_test("world");
    let told = |failed: &[(u64, Category)], done: &[u64]| {
        let mut tally = Tally { next: 1, transactions: done.len() as u64, last_t: 40, ..Tally::default() };
        done.iter().for_each(|number| tally.done(*number));
        tally.failed =
            failed.iter().map(|(n, category)| (*n, Error::new(*category, "x", format!("form {n}")))).collect();
        match stopped(tally, &arguments) {
            Failure::Error(error) => crate::command::failure::explain(&error),
            other => panic!("{other:?}"),
        }
    };
    let refused = told(&[(3, Category::Conflict)], &[1, 2]);
    assert!(refused.contains("  transactions-committed: 2\n  form: 3\n  last-t: 40\n"), "{refused}");
    assert!(refused.contains("next: mend it and go on with `--from-form 3`; "), "{refused}");
    // Out of order, what lies behind the first gap is named.
    let gaps = told(&[(4, Category::Conflict), (6, Category::Unknown)], &[2, 1, 3, 7, 5]);
    assert!(gaps.starts_with("error: form 6\n"), "{gaps}");
    assert!(gaps.contains("  failed-forms: [4 6]\n"), "{gaps}");
    assert!(gaps.contains("whether form 6 is there, then go on with `--from-form 4 --skip-forms 5,7`"), "{gaps}");
}
