use super::*;

/// Text and how the writer writes what was read.
const READ: &[(&str, &str)] = &[
    // Words and names.
    ("nil", "nil"),
    ("true", "true"),
    ("false", "false"),
    ("[nil/a true/b nilly]", "[nil/a true/b nilly]"),
    ("[a - + . / .. ... -> >= <= = not= %1 %& & * _]", "[a - + . / .. ... -> >= <= = not= %1 %& & * _]"),
    (
        "[?e $ $then a.b/c a/b' x#y a:b +a -a .a a/- clojure.core// λ/ü]",
        "[?e $ $then a.b/c a/b' x#y a:b +a -a .a a/- clojure.core// λ/ü]",
    ),
    (
        "[:a :a/b :1a :a/1 :a:b :- :+1 :db.type/string :_ :é/ß :a.b-c/d_e? :'a :#a]",
        "[:a :a/b :1a :a/1 :a:b :- :+1 :db.type/string :_ :é/ß :a.b-c/d_e? :'a :#a]",
    ),
    // Integers.
    ("[0 -0 +0 00 1 -1 +7]", "[0 0 0 0 1 -1 7]"),
    ("[9223372036854775807 -9223372036854775808]", "[9223372036854775807 -9223372036854775808]"),
    ("[9223372036854775808 -9223372036854775809]", "[9223372036854775808N -9223372036854775809N]"),
    ("[1N 0N -5N 0x1FN 017N]", "[1N 0N -5N 31N 15N]"),
    ("[0xff 0XFF -0x10 0xFFFFFFFFFFFFFFFF]", "[255 255 -16 18446744073709551615N]"),
    ("[017 -010 2r1011 16rFf 36rzZ 36r1N]", "[15 -8 11 255 1295 59]"),
    ("123456789012345678901234567890", "123456789012345678901234567890N"),
    // Ratios.
    ("[1/2 -2/4 4/2 0/5 +22/7 -0/3]", "[1/2 -1/2 2 0 22/7 0]"),
    ("18446744073709551616/2", "9223372036854775808N"),
    // Doubles and decimals.
    ("[1.0 1. -0.5 1e5 1E-7 1.5e+3 01.5 +2.0]", "[1.0 1.0 -0.5 100000.0 1e-7 1500.0 1.5 2.0]"),
    ("[1e16 1.7976931348623157e308 5e-324 -0.0 1e-999]", "[1e16 1.7976931348623157e308 5e-324 -0.0 0.0]"),
    ("[##NaN ##Inf ##-Inf]", "[##NaN ##Inf ##-Inf]"),
    ("[1M 1.0M 1.00M -0.10M 1e3M 1.5E-3M 1.M +3M]", "[1M 1.0M 1.00M -0.10M 1E3M 0.0015M 1M 3M]"),
    ("0.1234567890123456789012345678901234567890M", "0.1234567890123456789012345678901234567890M"),
    ("[1e-9999M 2e9999M]", "[1E-9999M 2E9999M]"),
    // Strings.
    (r#""""#, r#""""#),
    (r#""a\tb\nc\rd\"e\\f""#, r#""a\tb\nc\rd\"e\\f""#),
    (r#""\u00e9\u4e2d\b\f""#, "\"é中\\u0008\\u000c\""),
    (r#""\ud83d\ude00 \101\0\377""#, "\"😀 A\\u0000ÿ\""),
    ("\"two\nlines, ; no comment \"", "\"two\\nlines, ; no comment \""),
    // Characters.
    (
        r"[\a \Z \newline \return \space \tab \formfeed \backspace]",
        r"[\a \Z \newline \return \space \tab \formfeed \backspace]",
    ),
    (r"[\u00e9 \u0041 \o101 \o7 \u \o \n \é \😀]", r"[\é \A \A \u0007 \u \o \n \é \😀]"),
    (r#"[\( \) \[ \] \{ \} \" \\ \; \, \# \/ \^ \' \: \1]"#, r#"[\( \) \[ \] \{ \} \" \\ \; \, \# \/ \^ \' \: \1]"#),
    (r"[\[\]]", r"[\[ \]]"),
    // Tags.
    ("#inst \"2020-01-02T03:04:05.678Z\"", "#inst \"2020-01-02T03:04:05.678Z\""),
    ("#inst \"1985-04-12T23:20:50.52-02:00\"", "#inst \"1985-04-13T01:20:50.520Z\""),
    ("#inst \"+12020-01-02\"", "#inst \"+12020-01-02T00:00:00.000Z\""),
    ("#uuid \"F81D4FAE-7dec-11d0-a765-00a0c91e6bf6\"", "#uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\""),
    ("#uri \"http://x.org/\"", "#uri \"http://x.org/\""),
    ("#bytes\"aGVsbG8=\"", "#bytes \"aGVsbG8=\""),
    ("#my/tag #other [1 #inst\"2020\"]", "#my/tag #other [1 #inst \"2020-01-01T00:00:00.000Z\"]"),
    ("#tag #_ 1 2", "#tag 2"),
    // Collections.
    ("() [] {} #{}", "() [] {} #{}"),
    ("(1 [2 {3 #{4}}])", "(1 [2 {3 #{4}}])"),
    ("{:a 1, :b {:c [1,2,,3]}}", "{:a 1, :b {:c [1 2 3]}}"),
    ("{[1] {} (2) nil #{3} {4 5}}", "{[1] {}, (2) nil, #{3} {4 5}}"),
    ("[1[2]\"a\"3 :b\\c(d)#{e}{f g};h\n]", "[1 [2] \"a\" 3 :b \\c (d) #{e} {f g}]"),
    ("#{1 1N 1.0 1M 1.0M \"1\" :1 \\1 [1] #{1}}", "#{1 1N 1.0 1M 1.0M \"1\" :1 \\1 [1] #{1}}"),
    // Maps with a namespace.
    ("#:a{:b 1 :c/d 2 :_/e 3 f 4 _/g 5 \"h\" 6 i/j 7}", "{:a/b 1, :c/d 2, :e 3, a/f 4, g 5, \"h\" 6, i/j 7}"),
    ("#:a.b {}", "{}"),
    ("#:a{_/nil 1 :_/1 2 / 3}", "{_/nil 1, :1 2, a// 3}"),
    ("#:a{:b {:c #:d{:e 1}}}", "{:a/b {:c {:d/e 1}}}"),
    // Discard.
    ("[1 #_2 3 #_ [4 5] #_#_ 6 7 8 #_nine]", "[1 3 8]"),
    ("#_ #inst \"never\" #_#uuid 1 ok", "ok"),
    ("{:a #_1 2 #_:b}", "{:a 2}"),
    ("#_{} ; nothing\n #_#_1 2", ""),
    // Metadata.
    ("^:k [1]", "[1]"),
    ("^{:doc \"x\"} ^String ^\"t\" sym", "sym"),
    ("[^:a {} #^:b () ^{} #{} ^:c #_ 1 ^:d x]", "[{} () #{} x]"),
    ("{^:m k ^:n v}", "{k v}"),
    // White space and comments.
    ("", ""),
    (" ,\t\r\n\x0c; only a comment", ""),
    ("\u{feff}[1]", "[1]"),
    ("1;a\n;b\r\n2 ;;; c", "1 2"),
];

/// Text, line, column, and words of the message.
const REFUSED: &[(&str, i64, i64, &str)] = &[
    ("(", 1, 1, "the list that opens here is never closed by `)`"),
    ("\n [1 {:a", 2, 5, "the map that opens here is never closed"),
    (")", 1, 1, "closes nothing"),
    ("[1\n  )", 2, 3, "found `)` where `]` should close the vector of line 1, column 1"),
    ("#{1]", 1, 4, "where `}` should close the set"),
    ("é [\"é\" }", 1, 8, "where `]` should close the vector of line 1, column 3"),
    ("{:a}", 1, 1, "a map needs a value for each key; :a has none"),
    ("{:a 1 :b}", 1, 1, ":b has none"),
    ("{:a 1 :b 2 :a 3}", 1, 1, "the map has the key :a twice"),
    ("#:n{:a 1 :n/a 2}", 1, 1, "the map has the key :n/a twice"),
    ("#{1 2 1}", 1, 1, "the set has the element 1 twice"),
    ("#{[1 2] (1 2)}", 1, 1, "twice"),
    ("#{#{1 2} #{2 1}}", 1, 1, "the set has the element #{2 1} twice"),
    ("{{:a 1 :b 2} 1 {:b 2 :a 1} 2}", 1, 1, "twice"),
    ("#{0.0 -0.0}", 1, 1, "twice"),
    ("#{##NaN ##NaN}", 1, 1, "twice"),
    (":", 1, 1, "a colon needs a name"),
    ("[: a]", 1, 2, "a colon needs a name"),
    ("::a", 1, 1, "`::a` is no keyword: `::` needs a current namespace"),
    (":a:", 1, 1, "it ends in a colon"),
    (":a::b", 1, 1, "two colons"),
    (":a/:b", 1, 1, "its name begins with a colon"),
    (":/a", 1, 1, "one `/` may stand between"),
    (":a/", 1, 1, "one `/` may stand between"),
    (":a/b/c", 1, 1, "one `/` may stand between"),
    ("a/", 1, 1, "one `/`"),
    ("/a", 1, 1, "one `/`"),
    ("a/b/c", 1, 1, "one `/`"),
    ("a/1", 1, 1, "cannot begin with a digit"),
    ("a:", 1, 1, "ends in a colon"),
    ("@x", 1, 1, "belong to Clojure code"),
    ("'[:find ?e]", 1, 1, "EDN has no quoting"),
    ("a\u{a0}b", 1, 1, "an invisible character"),
    ("\u{0}", 1, 1, "a character that no name can have"),
    (".5", 1, 1, "it begins like a number"),
    ("1a", 1, 1, "`1a` is no number"),
    ("-1a", 1, 1, "`-1a` is no number"),
    ("08", 1, 1, "octal, which has no 8"),
    ("1.2.3", 1, 1, "is no number"),
    ("1e", 1, 1, "is no number"),
    ("1e+", 1, 1, "is no number"),
    ("1.5N", 1, 1, "is no number"),
    ("0x", 1, 1, "is no number"),
    ("0xg", 1, 1, "is no number"),
    ("37r1", 1, 1, "a radix is 2 to 36"),
    ("2r2", 1, 1, "is no number"),
    ("1/0", 1, 1, "the denominator is zero"),
    ("1/-2", 1, 1, "is no number"),
    ("1/", 1, 1, "is no number"),
    ("1_000", 1, 1, "is no number"),
    ("1e400", 1, 1, "beyond the doubles"),
    ("\"abc", 1, 1, "the string that begins here never ends"),
    ("[\"a\\", 1, 4, "ends inside a string"),
    (r#""\x""#, 1, 2, "a string has no escape `\\x`"),
    (r#""ab\é""#, 1, 4, "a string has no escape `\\é`"),
    (r#""\u12""#, 1, 2, "four hexadecimal digits"),
    (r#""\u+123""#, 1, 2, "four hexadecimal digits"),
    (r#""\ud83d x""#, 1, 2, "half a surrogate pair"),
    (r#""\ude00""#, 1, 2, "half a surrogate pair"),
    (r#""\400""#, 1, 2, "octal escape goes up to \\377"),
    ("\\", 1, 1, "a character should follow"),
    ("[\\ ]", 1, 2, "white space has names"),
    ("\\abc", 1, 1, "`\\abc` is no character"),
    ("\\u12", 1, 1, "is no character"),
    ("\\ud800", 1, 1, "is no character"),
    ("\\o400", 1, 1, "is no character"),
    ("#inst \"soon\"", 1, 1, "#inst takes an RFC 3339 date or time in a string, not \"soon\""),
    ("#inst 5", 1, 1, "#inst takes a string, not 5"),
    ("#uuid \"f81d4fae\"", 1, 1, "#uuid takes 8-4-4-4-12"),
    ("#uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bfé\"", 1, 1, "#uuid takes"),
    ("#foo", 1, 1, "the text ends where a form should follow the tag"),
    ("[#foo]", 1, 6, "found `]` where a form should follow the tag"),
    ("[#_]", 1, 4, "where a form should follow the discard"),
    ("#_", 1, 1, "should follow the discard"),
    ("^:a", 1, 1, "should follow the metadata"),
    ("^:a 5", 1, 5, "metadata cannot be put on 5"),
    ("^5 []", 1, 2, "metadata is a map, keyword, symbol, string or vector, not 5"),
    ("##Foo", 1, 1, "after `##` comes NaN"),
    ("#:a", 1, 4, "a map should follow `#:a`"),
    ("#:a/b{}", 1, 1, "after `#:` comes a namespace"),
    ("#::a{}", 1, 1, "after `#:` comes a namespace"),
    ("#\"regex\"", 1, 1, "after `#` comes a tag"),
    ("#(inc %)", 1, 1, "after `#` comes a tag"),
    ("# tag 1", 1, 1, "after `#` comes a tag"),
    ("#1 2", 1, 1, "after `#` comes a tag"),
    ("#", 1, 1, "after `#` comes a tag"),
];

fn written(forms: &[Edn]) -> String {
    forms.iter().map(Edn::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn forms_are_read_as_what_they_mean() {
    for (text, expected) in READ {
        match read_all(text) {
            Ok(forms) => assert_eq!(written(&forms), *expected, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

#[test]
fn what_is_no_form_is_refused_with_its_place() {
    for (text, line, column, words) in REFUSED {
        let error = read_all(text).expect_err(text);
        assert_eq!(error.code(), "db.error/edn-syntax", "{text}: {error}");
        assert!(error.message().contains(words), "{text}: {error}");
        assert_eq!(error.details()[0].1, Edn::Long(*line), "{text}: {error}");
        assert_eq!(error.details()[1].1, Edn::Long(*column), "{text}: {error}");
    }
}

#[test]
fn exactly_one_form_is_read() {
    assert_eq!(read(" ; one\n 1 #_2 ; and no more").unwrap(), Edn::Long(1));
    for (text, words) in [("", "no form"), ("#_1", "no form"), ("1 2", "a second form"), ("1 )", "closes nothing")] {
        let error = read(text).unwrap_err();
        assert!(error.message().contains(words), "{text}: {error}");
    }
}

#[test]
fn a_reader_gives_forms_with_their_lines_and_ends_after_an_error() {
    let mut reader = Reader::new("1\n\n[2\n3] ) 4", Limits::default());
    assert_eq!(reader.next_form().unwrap(), Some(Edn::Long(1)));
    assert_eq!((reader.offset(), reader.line()), (1, 1));
    assert_eq!(reader.next_form().unwrap().unwrap().to_string(), "[2 3]");
    assert_eq!((reader.offset(), reader.line()), (8, 4));
    assert!(reader.next_form().is_err());
    assert_eq!(reader.next_form().unwrap(), None);
}

#[track_caller]
fn check_limit(text: &str, limits: Limits, words: &str) {
    let error = Reader::new(text, limits).next_form().unwrap_err();
    assert_eq!(error.code(), "db.error/edn-limit", "{error}");
    assert!(error.message().contains(words), "{error}");
}

#[test]
fn every_prefix_and_bracket_counts_towards_the_depth() {
    let limits = Limits { depth_max: 3, ..Limits::default() };
    for open in ["[", "(", "{", "#{", "#t ", "^:k ", "#_ ", "#:a{"] {
        check_limit(&open.repeat(4), limits, "deeper than 3");
    }
    assert!(Reader::new("[[[1]]]", limits).next_form().is_ok());
}

#[test]
fn ten_megabytes_of_open_brackets_are_refused_without_reading_them_all() {
    for open in ["[", "(", "{", "#{", "#t ", "^", "#_", "{[] ", "#:a{:b "] {
        let text = open.repeat((10 << 20) / open.len());
        check_limit(&text, Limits::default(), "nested deeper than 256");
    }
}

#[test]
fn sizes_are_bounded() {
    check_limit("[1 2 3]", Limits { bytes_max: 6, ..Limits::default() }, "7 bytes; at most 6");
    check_limit("[1 [2] 3]", Limits { elements_max: 3, ..Limits::default() }, "more than 3 elements");
    assert!(Reader::new("[1 2 3]", Limits { elements_max: 3, ..Limits::default() }).next_form().is_ok());
    check_limit(&"9".repeat(20_000), Limits::default(), "at most 10000 digits");
    check_limit(&format!("1/{}", "3".repeat(2_000)), Limits::default(), "at most 10000 digits");
    check_limit("1e10001M", Limits::default(), "the scale of a decimal");
    check_limit("1e99999999999M", Limits::default(), "the scale of a decimal");
    let huge = "x".repeat(20 << 20);
    assert_eq!(read(&format!("\"{huge}\"")).unwrap(), Edn::string(huge));
}

#[test]
fn duplicates_are_found_in_large_and_nested_collections_in_time_that_grows_with_the_text() {
    let numbers: Vec<String> = (0..200_000).map(|n| n.to_string()).collect();
    assert!(read(&format!("#{{{}}}", numbers.join(" "))).is_ok());
    assert!(read(&format!("#{{{} 77777}}", numbers.join(" "))).unwrap_err().message().contains("77777 twice"));

    // Decimals whose comparison by value would be dear.
    let decimals: Vec<String> =
        (0..50_000).map(|n| format!("{n}e{}M", if n % 2 == 0 { 9999 } else { -9999 })).collect();
    assert!(read(&format!("#{{{}}}", decimals.join(" "))).is_ok());

    // A binary tree of sets, equal but for the last leaf of each right half.
    fn tree(depth: usize, leaf: usize) -> String {
        match depth {
            0 => format!("#{{{leaf}}}"),
            _ => format!("#{{{} {}}}", tree(depth - 1, leaf), tree(depth - 1, leaf + (1 << (depth - 1)))),
        }
    }
    assert!(read(&tree(15, 0)).is_ok());
    let twice = format!("#{{{t} {t}}}", t = tree(14, 0));
    assert!(read(&twice).unwrap_err().message().contains("twice"));
    let (a, b) = (read(&tree(14, 0)).unwrap(), read(&tree(14, 1)).unwrap());
    assert!(a < b && a == a.clone() && a.cmp(&a.clone()).is_eq());
}

#[test]
fn comparing_deep_forms_does_not_double_with_each_level() {
    fn nested(depth: usize, rest: &str) -> String {
        (0..depth).fold("#{0}".to_string(), |inner, _| format!("#{{{inner} {rest}}}"))
    }
    let (a, b) = (nested(200, "1 2"), nested(200, "2 1"));
    assert!(read(&format!("#{{{a} {b}}}")).unwrap_err().message().contains("twice"));
    assert!(read(&format!("#{{{a} {}}}", nested(200, "1 3"))).is_ok());
    let (a, b) = (read(&a).unwrap(), read(&b).unwrap());
    assert!(a == b && a.cmp(&b).is_eq());
}

#[test]
fn equality_and_hash_of_forms_do_not_mind_the_order_of_maps_and_sets() {
    let pairs = [
        ("{:a 1 :b 2 [3] {4 5}}", "{[3] {4 5} :b 2 :a 1}", true),
        ("#{1 2 #{3 4}}", "#{#{4 3} 2 1}", true),
        ("[1 2]", "(1 2)", true),
        ("[1 2]", "[2 1]", false),
        ("{:a 1 :b 2}", "{:a 2 :b 1}", false),
        ("#{1 2}", "#{1 3}", false),
        ("1", "1N", false),
        ("1.0M", "1.00M", false),
        ("#a 1", "#b 1", false),
    ];
    for (a, b, equal) in pairs {
        let (a, b) = (read(a).unwrap(), read(b).unwrap());
        assert_eq!(a == b, equal, "{a} {b}");
        assert_eq!(a.cmp(&b).is_eq(), equal, "{a} {b}");
        assert_eq!(fingerprint::of(&a) == fingerprint::of(&b), equal, "{a} {b}");
    }
}

#[test]
fn forms_stand_in_one_order() {
    let ladder = [
        "nil",
        "false",
        "true",
        "\\a",
        "1",
        "2",
        "1N",
        "1.0",
        "##NaN",
        "1.0M",
        "1.00M",
        "1/2",
        "\"a\"",
        ":a",
        ":a/a",
        "a",
        "#inst \"2020\"",
        "#uuid \"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\"",
        "[]",
        "[1]",
        "[1 [2]]",
        "[1 #{}]",
        "[2]",
        "{}",
        "{1 2}",
        "{1 3 0 9}",
        "{1 2 3 4}",
        "{1 3}",
        "#{}",
        "#{1 9}",
        "#{2 1}",
        "#{2}",
        "#{#{}}",
        "#a 1",
        "#a [1]",
        "#b 1",
    ];
    let mut forms: Vec<Edn> = ladder.iter().map(|text| read(text).unwrap()).collect();
    // Maps and sets compare as their sorted members do.
    let place = |forms: &[Edn], text: &str| forms.iter().position(|form| *form == read(text).unwrap()).unwrap();
    forms.sort();
    assert!(place(&forms, "{1 3 0 9}") < place(&forms, "{1 2}") && place(&forms, "{1 2}") < place(&forms, "{1 2 3 4}"));
    assert!(place(&forms, "#{2 1}") < place(&forms, "#{1 9}") && place(&forms, "#{1 9}") < place(&forms, "#{2}"));
    let classes = |form: &Edn| ladder.iter().position(|text| read(text).unwrap() == *form).unwrap();
    let scalars: Vec<usize> = forms.iter().map(classes).filter(|place| *place < 23).collect();
    assert_eq!(scalars, (0..23).collect::<Vec<_>>());
    for (i, a) in forms.iter().enumerate() {
        for (j, b) in forms.iter().enumerate() {
            assert_eq!(a.cmp(b), i.cmp(&j), "{a} against {b}");
            assert_eq!(a == b, i == j, "{a} against {b}");
        }
    }
}

#[test]
fn bytes_are_taken_out_of_their_tag() {
    assert_eq!(read("#bytes \"aGVsbG8=\"").unwrap().to_bytes(), Some(b"hello".to_vec()));
    for text in ["#bytes \"aGVsbG9=\"", "#bytes 1", "#other \"aGVsbG8=\"", "\"aGVsbG8=\""] {
        assert_eq!(read(text).unwrap().to_bytes(), None, "{text}");
    }
}

#[test]
fn names_from_elsewhere_are_checked_as_the_reader_would() {
    use crate::edn::{check_keyword, check_symbol};
    assert_eq!(check_keyword("a/b").unwrap(), Keyword::new("a/b"));
    assert_eq!(check_symbol("?e").unwrap(), Symbol::new("?e"));
    for text in ["", ":a", "a b", "a,b", "a\"", "a/b/c", "a\n", "[x]"] {
        assert!(check_keyword(text).is_err(), "{text:?}");
        assert!(check_symbol(text).is_err(), "{text:?}");
    }
    for text in ["nil", "true", "1a", "'a", "#a"] {
        assert!(check_symbol(text).is_err(), "{text:?}");
    }
}

mod round_trip {
    use super::*;
    use crate::model::{BigDec, BigInt};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn name() -> impl Strategy<Value = String> {
        let part = "[a-zA-Zé*!?$%&=<>_][a-z0-9A-Zλ.*+!?$%&=<>'#_-]{0,6}";
        prop_oneof![4 => part, 2 => (part, part).prop_map(|(a, b)| format!("{a}/{b}"))]
    }

    fn symbol() -> impl Strategy<Value = Symbol> {
        name().prop_filter("words", |text| !matches!(text.as_str(), "nil" | "true" | "false")).prop_map(Symbol::new)
    }

    fn tag() -> impl Strategy<Value = Symbol> {
        "[a-z][a-z0-9]{0,5}(/[a-z]{1,4})?"
            .prop_filter("with a meaning", |tag| tag != "inst" && tag != "uuid")
            .prop_map(Symbol::new)
    }

    fn big() -> impl Strategy<Value = BigInt> {
        (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(negative, bytes)| {
            let magnitude = BigInt::from_bytes_le(num_bigint::Sign::Plus, &bytes);
            if negative { -magnitude } else { magnitude }
        })
    }

    fn ratio() -> impl Strategy<Value = Edn> {
        (any::<i64>(), 1..i64::MAX).prop_map(|(a, b)| read(&format!("{a}/{b}")).unwrap())
    }

    fn form() -> impl Strategy<Value = Edn> {
        let scalar = prop_oneof![
            Just(Edn::Nil),
            any::<bool>().prop_map(Edn::Bool),
            any::<char>().prop_map(Edn::Char),
            any::<i64>().prop_map(Edn::Long),
            big().prop_map(|int| Edn::BigInt(Arc::new(int))),
            any::<f64>().prop_map(Edn::Double),
            prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(Edn::Double),
            (big(), -10_000..=10_000i32).prop_map(|(n, scale)| Edn::BigDec(Arc::new(BigDec::new(n, scale).unwrap()))),
            (big(), -3..=70i32).prop_map(|(n, scale)| Edn::BigDec(Arc::new(BigDec::new(n, scale).unwrap()))),
            ratio(),
            any::<String>().prop_map(Edn::string),
            name().prop_map(|text| Edn::Keyword(Keyword::new(text))),
            symbol().prop_map(Edn::Symbol),
            any::<i64>().prop_map(|ms| Edn::Inst(Instant(ms))),
            any::<[u8; 16]>().prop_map(Edn::Uuid),
        ];
        scalar.prop_recursive(5, 80, 8, |inner| {
            let many = || proptest::collection::vec(inner.clone(), 0..8);
            prop_oneof![
                many().prop_map(Edn::List),
                many().prop_map(Edn::Vector),
                proptest::collection::btree_set(inner.clone(), 0..8)
                    .prop_map(|set| Edn::Set(set.into_iter().rev().collect())),
                proptest::collection::btree_map(inner.clone(), inner.clone(), 0..8)
                    .prop_map(|map| Edn::Map(map.into_iter().rev().collect())),
                (tag(), inner.clone()).prop_map(|(tag, form)| Edn::Tagged(tag, Box::new(form))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_equal(form in form()) {
            let text = form.to_string();
            let back = read(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            prop_assert_eq!(&back, &form);
            prop_assert_eq!(back.to_string(), text);
            prop_assert_eq!(fingerprint::of(&back), fingerprint::of(&form));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in any::<String>()) {
            let _ = read_all(&text);
        }

        /// What a changed text still means is written as something that means the same.
        #[test]
        fn what_is_read_of_damaged_text_reads_back_equal(
            edits in proptest::collection::vec((any::<u8>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..5)
        ) {
            let mut bytes = READ.iter().map(|(text, _)| *text).collect::<Vec<_>>().join("\n").into_bytes();
            for (edit, from, to) in edits {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                match edit % 4 {
                    0 => bytes[to] = edit / 2,
                    1 => drop(bytes.remove(to)),
                    2 => bytes.insert(to, bytes[from]),
                    _ => bytes.swap(from, to),
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            let mut reader = Reader::new(&text, Limits::default());
            while let Ok(Some(form)) = reader.next_form() {
                let written = form.to_string();
                let back = read(&written).map_err(|error| TestCaseError::fail(format!("{written}: {error}")))?;
                prop_assert_eq!(back, form);
            }
        }

        #[test]
        fn no_text_of_ednish_pieces_makes_the_reader_panic(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "(", ")", "[", "]", "{", "}", "#{", "#_", "#", "^", ":", "a", "/", "1", "-", ".", "e", "M", "N", "r",
                    "\"", "\\", "u00e9", "\\ud83d", ";", "\n", " ", "é", "#inst", "#uuid", "#:n", "##Inf", "'", "0x", "\u{feff}",
                ]),
                0..30,
            )
        ) {
            let _ = read_all(&pieces.concat());
        }
    }
}
