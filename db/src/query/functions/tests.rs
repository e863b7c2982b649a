use super::*;
use crate::edn;
use crate::query::constant::value_of;

#[track_caller]
fn call(text: &str) -> Result<Option<Value>> {
    let form = edn::read(text).unwrap();
    let parts = form.as_sequence().unwrap();
    let crate::edn::Edn::Symbol(name) = &parts[0] else { panic!("{text}") };
    let args: Vec<Option<Value>> = parts[1..].iter().map(|arg| value_of(arg).unwrap()).collect();
    let function = find(name.as_str())?;
    function.check_arity(args.len())?;
    let budget = Budget::unlimited();
    match &function.op {
        Op::Pure(f) => f(&Env::new(&budget), &args),
        Op::Compare(comparison) => Ok(Some(Value::Boolean(comparison.holds(&args)))),
        _ => panic!("{text} needs a database"),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let result = call(text).unwrap().map_or("nil".to_string(), |value| value.to_string());
    assert_eq!(result, expected, "{text}");
}

#[track_caller]
fn refused(text: &str, part: &str) {
    let error = call(text).unwrap_err();
    assert!(error.message().contains(part), "{text}: {error}");
}

#[test]
fn rule_5_comparison_is_by_value_across_numbers() {
    check("(= 1 1.0)", "true");
    check("(= 1 1 1)", "true");
    check("(= 1.0M 1.00M)", "false");
    check("(= 1 1.0M)", "true");
    check("(< 1 1.5 2N)", "true");
    check("(< 1 3 2)", "false");
    check("(<= 9007199254740993 9007199254740992.0)", "false");
    check("(= ##NaN ##NaN)", "false");
    check("(!= ##NaN ##NaN)", "true");
    check("(< ##NaN 1)", "false");
    check("(>= ##NaN 1)", "false");
    check("(!= 1 1)", "false");
    check("(not= 1 2)", "true");
    check("(< \"a\" \"b\")", "true");
    check("(> :b/a :a)", "true");
    check("(= nil nil)", "true");
}

#[test]
fn rule_31_arithmetic_has_clojures_meaning() {
    check("(+)", "0");
    check("(+ 1 2 3)", "6");
    check("(+ 1 0.5)", "1.5");
    check("(+ 1 1N)", "2N");
    check("(+ 1.10M 2)", "3.10M");
    check("(- 5)", "-5");
    check("(- 5 1 1)", "3");
    check("(* 2 3)", "6");
    check("(* 1.5M 2.0M)", "3.00M");
    check("(/ 6 3)", "2");
    check("(/ 1 4)", "0.25");
    check("(/ 1M 8)", "0.125M");
    check("(quot -7 2)", "-3");
    check("(rem -7 2)", "-1");
    check("(mod -7 2)", "1");
    check("(mod 7 -2)", "-1");
    check("(quot 7.5 2)", "3.0");
    check("(inc 1)", "2");
    check("(dec 1.5)", "0.5");
    check("(max 1 2.5 2)", "2.5");
    check("(min 1 2.5 2)", "1");
    check("(abs -3)", "3");
    check("(even? 2)", "true");
    check("(odd? -3)", "true");
    check("(zero? 0.0)", "true");
    check("(pos? 1)", "true");
    check("(neg? 1)", "false");
    refused("(+ 9223372036854775807 1)", "overflows a long");
    refused("(* 9223372036854775807 2)", "overflows a long");
    refused("(- -9223372036854775808)", "overflows a long");
    refused("(/ -9223372036854775808 -1)", "overflows a long");
    refused("(/ 1 0)", "divides by zero");
    refused("(quot 1 0)", "divides by zero");
    refused("(/ 1M 3M)", "has no exact decimal");
    refused("(+ 1 \"a\")", "+ takes numbers, not \"a\", a string");
    refused("(even? 1.0)", "even? takes integers");
}

#[test]
fn rule_31_strings_and_expressions() {
    check("(str \"a\" 1 :b/c nil 1.0)", "\"a1:b/c1.0\"");
    check("(subs \"häuser\" 1 3)", "\"äu\"");
    check("(subs \"abc\" 1)", "\"bc\"");
    check("(upper-case \"aß\")", "\"ASS\"");
    check("(clojure.string/lower-case \"AB\")", "\"ab\"");
    check("(starts-with? \"abc\" \"ab\")", "true");
    check("(ends-with? \"abc\" \"ab\")", "false");
    check("(includes? \"abc\" \"b\")", "true");
    check("(re-find \"[0-9]+\" \"ab12c3\")", "\"12\"");
    check("(re-find \"([a-z])([0-9])?\" \"ab1\")", "[\"a\" \"a\" nil]");
    check("(re-find \"x\" \"ab1\")", "nil");
    check("(re-matches \"a|ab\" \"ab\")", "\"ab\"");
    check("(re-matches \"a\" \"ab\")", "nil");
    check("(re-seq \"[0-9]\" \"1a2\")", "[\"1\" \"2\"]");
    check("(count \"häu\")", "3");
    check("(name :a/b)", "\"b\"");
    check("(namespace :a/b)", "\"a\"");
    check("(keyword \"a\" \"b\")", ":a/b");
    refused("(subs \"abc\" 2 9)", "does not lie within");
    refused("(re-find \"(\" \"a\")", "is no regular expression");
    refused("(re-find \"(?:a{1000}){1000}\" \"a\")", "compiles to more than");
    refused("(starts-with? 1 \"a\")", "starts-with? takes strings");
}

#[test]
fn rule_31_truth_and_tuples() {
    check("(and 1 nil 2)", "nil");
    check("(and 1 2)", "2");
    check("(or nil false 3)", "3");
    check("(identity :a)", ":a");
    check("(tuple 1 \"a\" nil)", "[1 \"a\" nil]");
    check("(untuple [1 2])", "[1 2]");
    check("(ground [1 2])", "[1 2]");
    check("(count [1 2])", "2");
    check("(not false)", "true");
}

#[test]
fn rule_31_an_unknown_function_lists_near_names() {
    refused("(start-with? \"a\" \"b\")", "near it: starts-with?");
    refused("(frobnicate 1)", "there are");
    refused("(tx-ids 1 2)", "not supported yet");
    refused("(subs \"a\")", "subs takes 2 to 3 arguments, not 1");
    refused("(inc)", "inc takes 1 argument, not 0");
}

#[test]
fn what_is_equal_has_one_key() {
    let texts = "0 -0.0 0.0M 0N 1 1.0 1.00M 1N -1 -1.0 0.5 0.5M 0.1 0.1M 9007199254740992 9007199254740993
        9007199254740993N 9007199254740993M 9007199254740993.0M 9007199254740992.0 9007199254740993.5M
        90071992547409930e-1M 9223372036854775807 9223372036854775807N 9223372036854775807M
        9223372036854775808N 9.223372036854775808e18 9223372036854775808M 922337203685477580800e-2M
        -9223372036854775808 -9.223372036854775808e18 -9223372036854775808M 1e400M 1e30 1e30M
        1000000000000000000000000000000N 1e-30M 1e-30 ##Inf ##-Inf ##NaN 1.5 1.5M 1.50M \"a\" :a [1] [1.0] true";
    let mut values: Vec<Value> =
        edn::read_all(texts).unwrap().iter().map(|form| value_of(form).unwrap().unwrap()).collect();
    values.extend([Value::float(0.5), Value::float(1.0), Value::float(0.1), Value::Float(f32::NAN)]);
    values.push(Value::Ref(crate::EntityId::from_long(17_592_186_045_445).unwrap()));
    values.push(Value::Long(17_592_186_045_445));
    let mut pairs = 0;
    for a in &values {
        for b in &values {
            if Comparison::Equal.holds_between(a, b) {
                assert!(equal_key(a).is_some() && equal_key(a) == equal_key(b), "{a} = {b}");
                pairs += usize::from(a.value_type() != b.value_type());
            }
        }
    }
    assert!(pairs > 40, "{pairs} pairs of two types are equal");
}
