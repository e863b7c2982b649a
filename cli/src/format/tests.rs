use super::*;
use db::{EntityId, Instant, Keyword, Symbol, Value};
use std::sync::Arc;

fn head(shape: Shape, columns: &[&str]) -> Head {
    let columns = columns.iter().map(|name| name.to_string()).collect();
    Head { shape, columns, keys: Vec::new(), databases: Vec::new() }
}

fn written(format: Format, head: Head, rows: &[Vec<Item>], width_max: Option<usize>) -> String {
    let mut out = Vec::new();
    let mut writer = AnswerWriter::new(&mut out, format, head, width_max).unwrap();
    for row in rows {
        writer.row(row.clone()).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), rows.len() as u64);
    String::from_utf8(out).unwrap()
}

fn text(text: &str) -> Item {
    Item::Value(Value::string(text))
}

fn long(long: i64) -> Item {
    Item::Value(Value::Long(long))
}

fn countries() -> Vec<Vec<Item>> {
    vec![vec![text("Côte d'Ivoire"), long(18_013_409)], vec![text("中国"), long(1_318_683_096)]]
}

#[test]
fn json_rows_are_compact_arrays_with_every_type_as_documented() {
    let row: Vec<Item> = [
        Value::string("Åland \"x\"\n\u{1}"),
        Value::Long(-7),
        Value::double(45.0),
        Value::double(23.599),
        Value::double(1e300),
        Value::double(1.5e-9),
        Value::double(f64::NEG_INFINITY),
        Value::float(0.1),
        Value::Boolean(false),
        Value::keyword("db.type/ref"),
        Value::Symbol(Symbol::new("?e")),
        Value::Instant(Instant::parse("1993-06-30").unwrap()),
        Value::Ref(EntityId::of_tx(3)),
        Value::uuid([0x11; 16]),
        Value::Bytes(Arc::new(vec![1, 2])),
        Value::Tuple(Arc::new(vec![Some(Value::Long(1)), None])),
    ]
    .into_iter()
    .map(Item::Value)
    .chain([Item::Nil, Item::Map(vec![(Item::Value(Value::Keyword(Keyword::new("db/id"))), long(5))])])
    .collect();
    assert_eq!(
        json_row(&row),
        concat!(
            r#"["Åland \"x\"\n\u0001",-7,45.0,23.599,1.0e300,1.5e-9,"-Infinity",0.1,false,":db.type/ref","?e","#,
            r#""1993-06-30T00:00:00.000Z",13194139533315,"11111111-1111-1111-1111-111111111111","AQI=",[1,null],null,"#,
            r#"{":db/id":5}]"#
        )
    );
}

#[test]
fn every_shape_is_one_edn_form() {
    let rows = countries();
    let one = |row: &[Item]| vec![row[..1].to_vec()];
    let relation = head(Shape::Relation, &["?name", "?people"]);
    assert_eq!(
        written(Format::Edn, relation.clone(), &rows, None),
        "[[\"Côte d'Ivoire\" 18013409]\n [\"中国\" 1318683096]]\n"
    );
    assert_eq!(written(Format::Edn, relation.clone(), &[], None), "[]\n");
    let mut keyed = relation;
    keyed.keys = vec![Item::Value(Value::keyword("name")), Item::Value(Value::keyword("people"))];
    assert_eq!(
        written(Format::Edn, keyed.clone(), &rows[..1], None),
        "[{:name \"Côte d'Ivoire\", :people 18013409}]\n"
    );
    assert_eq!(written(Format::Json, keyed, &rows[..1], None), "{\":name\":\"Côte d'Ivoire\",\":people\":18013409}\n");
    let collection = head(Shape::Collection, &["?name"]);
    assert_eq!(written(Format::Edn, collection.clone(), &one(&rows[1]), None), "[\"中国\"]\n");
    assert_eq!(written(Format::Edn, collection, &[], None), "[]\n");
    assert_eq!(written(Format::Edn, head(Shape::Scalar, &["?name"]), &one(&rows[1]), None), "\"中国\"\n");
    assert_eq!(written(Format::Edn, head(Shape::Scalar, &["?name"]), &[], None), "nil\n");
    assert_eq!(
        written(Format::Edn, head(Shape::Tuple, &["?name", "?people"]), &rows[..1], None),
        "[\"Côte d'Ivoire\" 18013409]\n"
    );
}

#[test]
fn tables_are_aligned_by_shown_width_and_sorted() {
    let mut rows = countries();
    rows.reverse();
    assert_eq!(
        written(Format::Table, head(Shape::Relation, &["?name", "?people"]), &rows, None),
        "?name             ?people\n\
         -------------  ----------\n\
         Côte d'Ivoire    18013409\n\
         中国           1318683096\n"
    );
}

#[test]
fn a_table_in_its_own_order_is_written_page_by_page_in_columns_that_do_not_get_narrower() {
    let mut out = Vec::new();
    let columns = head(Shape::Relation, &["n", "text"]);
    let mut writer = AnswerWriter::new(&mut out, Format::Table, columns.clone(), None).unwrap().in_order();
    for n in (0..PAGE_ROWS as i64 + 2).rev() {
        writer.row(vec![long(n), text(if n == 0 { "the last one" } else { "x" })]).unwrap();
    }
    writer.finish().unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2 + PAGE_ROWS + 2);
    assert_eq!(lines[..4], ["   n  text", "----  ----", "1001  x", "1000  x"]);
    assert_eq!(lines[PAGE_ROWS + 2..], ["   1  x", "   0  the last one"]);

    let mut out = Vec::new();
    AnswerWriter::new(&mut out, Format::Table, columns, None).unwrap().in_order().finish().unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "n  text\n-  ----\n");
}

#[test]
fn long_cells_are_cut_on_a_terminal_only() {
    let rows = vec![vec![text(&"x".repeat(100)), text("short")], vec![text("two\nlines"), Item::Nil]];
    let columns = head(Shape::Relation, &["?long", "?short"]);
    let cut = written(Format::Table, columns.clone(), &rows, Some(30));
    assert!(cut.lines().all(|line| line.chars().count() <= 30), "{cut}");
    assert!(cut.contains("xxx…  short"), "{cut}");
    assert!(cut.contains("\"two\\nlines\""), "{cut}");
    assert!(written(Format::Table, columns, &rows, None).contains(&"x".repeat(100)));
}

#[test]
fn csv_quotes_what_needs_it() {
    let rows = vec![vec![text("a,\"b\"\nc"), Item::Nil], vec![text(""), Item::Value(Value::keyword("a/b"))]];
    assert_eq!(
        written(Format::Csv, head(Shape::Relation, &["?x", "(count ?y)"]), &rows, None),
        "?x,(count ?y)\n\"a,\"\"b\"\"\nc\",\n\"\",:a/b\n"
    );
}

#[test]
fn long_forms_are_broken_by_clause() {
    let query = "[:find ?name ?capital :in $ :where [?f :country/name \"France\"] [?f :country/borders ?c]]";
    assert_eq!(
        pretty(&db::edn::read(query).unwrap(), 60),
        "[:find ?name ?capital\n :in $\n :where [?f :country/name \"France\"]\n        [?f :country/borders ?c]]"
    );
    assert_eq!(pretty(&db::edn::read("[:find ?e]").unwrap(), 60), "[:find ?e]");
    let map = db::edn::read("{:country/name \"France\", :country/borders [{:country/name \"Spain\"}]}").unwrap();
    assert_eq!(pretty(&map, 40), "{:country/name \"France\"\n :country/borders [{:country/name \"Spain\"}]}");
}
