//! Strings, names and regular expressions.

use super::{Env, Function, boolean, pure, wrong_type};
use crate::edn::Edn;
use crate::model::{Keyword, Value};
use crate::{Error, Result};
use regex::{Captures, Regex, RegexBuilder};
use std::fmt::Write;
use std::sync::Arc;

/// The most memory a compiled expression, or its cache of states, may take.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// The longest expression in bytes.
const REGEX_TEXT_BYTES_MAX: usize = 4096;
/// Results from this length on are accounted for.
const LONG_BYTES: usize = 1024;
/// No function makes a longer string.
const RESULT_BYTES_MAX: usize = 16 << 20;

pub(super) static FUNCTIONS: &[Function] = &[
    pure("str", 0, None, |env, args| {
        let mut text = String::new();
        args.iter().for_each(|arg| push_text(&mut text, arg));
        made(env, text)
    }),
    pure("subs", 2, Some(3), subs),
    pure("upper-case", 1, Some(1), |env, args| made(env, text("upper-case", &args[0])?.to_uppercase())),
    pure("lower-case", 1, Some(1), |env, args| made(env, text("lower-case", &args[0])?.to_lowercase())),
    pure("capitalize", 1, Some(1), |env, args| {
        let text = text("capitalize", &args[0])?;
        let mut chars = text.chars();
        let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
        made(env, first + &chars.as_str().to_lowercase())
    }),
    pure("trim", 1, Some(1), |env, args| made(env, text("trim", &args[0])?.trim().to_string())),
    pure("triml", 1, Some(1), |env, args| made(env, text("triml", &args[0])?.trim_start().to_string())),
    pure("trimr", 1, Some(1), |env, args| made(env, text("trimr", &args[0])?.trim_end().to_string())),
    pure("blank?", 1, Some(1), |_, args| match &args[0] {
        None => boolean(true),
        arg => boolean(text("blank?", arg)?.trim().is_empty()),
    }),
    pure("starts-with?", 2, Some(2), |_, args| {
        boolean(text("starts-with?", &args[0])?.starts_with(text("starts-with?", &args[1])?))
    }),
    pure("ends-with?", 2, Some(2), |_, args| {
        boolean(text("ends-with?", &args[0])?.ends_with(text("ends-with?", &args[1])?))
    }),
    pure("includes?", 2, Some(2), |_, args| {
        boolean(text("includes?", &args[0])?.contains(text("includes?", &args[1])?))
    }),
    pure("index-of", 2, Some(2), |_, args| {
        let whole = text("index-of", &args[0])?;
        let at = whole.find(text("index-of", &args[1])?);
        Ok(at.map(|at| Value::Long(whole[..at].chars().count() as i64)))
    }),
    pure("replace", 3, Some(3), |env, args| {
        let whole = text("replace", &args[0])?;
        let (from, to) = (text("replace", &args[1])?, text("replace", &args[2])?);
        let times = whole.matches(from).count();
        if times.saturating_mul(to.len()).saturating_add(whole.len()) > RESULT_BYTES_MAX {
            return Err(too_long());
        }
        made(env, whole.replace(from, to))
    }),
    pure("re-pattern", 1, Some(1), |_, args| {
        text("re-pattern", &args[0])?;
        Ok(args[0].clone())
    }),
    pure("re-find", 2, Some(2), |env, args| {
        let (regex, text) = search(env, "re-find", args)?;
        Ok(regex.captures(text).map(|captures| groups(&captures)))
    }),
    pure("re-matches", 2, Some(2), |env, args| {
        let pattern = format!("\\A(?:{})\\z", self::text("re-matches", &args[0])?);
        let regex = env.regex(&pattern)?;
        let text = haystack(env, "re-matches", &args[1])?;
        Ok(regex.captures(text).map(|captures| groups(&captures)))
    }),
    pure("re-seq", 2, Some(2), |env, args| {
        let (regex, text) = search(env, "re-seq", args)?;
        let mut found = Vec::new();
        for captures in regex.captures_iter(text) {
            env.budget.step()?;
            found.push(Some(groups(&captures)));
        }
        Ok((!found.is_empty()).then(|| Value::Tuple(Arc::new(found))))
    }),
    pure("name", 1, Some(1), |_, args| match &args[0] {
        Some(Value::Keyword(keyword)) => Ok(Some(Value::string(keyword.name()))),
        Some(Value::Symbol(symbol)) => Ok(Some(Value::string(symbol.name()))),
        Some(Value::String(_)) => Ok(args[0].clone()),
        other => Err(wrong_type("name", "a keyword, symbol or string", other)),
    }),
    pure("namespace", 1, Some(1), |_, args| match &args[0] {
        Some(Value::Keyword(keyword)) => Ok(keyword.namespace().map(Value::string)),
        Some(Value::Symbol(symbol)) => Ok(symbol.namespace().map(Value::string)),
        other => Err(wrong_type("namespace", "a keyword or symbol", other)),
    }),
    pure("keyword", 1, Some(2), |_, args| {
        let joined = match args {
            [Some(Value::Keyword(keyword))] => return Ok(Some(Value::Keyword(keyword.clone()))),
            [name] => text("keyword", name)?.to_string(),
            [namespace, name] => format!("{}/{}", text("keyword", namespace)?, text("keyword", name)?),
            _ => String::new(),
        };
        crate::edn::check_keyword(&joined)
            .map_err(|_| Error::incorrect("db.error/invalid-keyword", format!("{joined:?} makes no keyword")))?;
        Ok(Some(Value::Keyword(Keyword::new(joined))))
    }),
];

fn text<'a>(function: &str, value: &'a Option<Value>) -> Result<&'a str> {
    match value {
        Some(Value::String(text) | Value::Uri(text)) => Ok(text),
        other => Err(wrong_type(function, "strings", other)),
    }
}

fn too_long() -> Error {
    let message = format!("a function would make a string of more than {RESULT_BYTES_MAX} bytes");
    Error::interrupted("db.error/byte-limit", message)
}

fn made(env: &Env<'_>, text: String) -> Result<Option<Value>> {
    if text.len() > RESULT_BYTES_MAX {
        return Err(too_long());
    }
    if text.len() >= LONG_BYTES {
        env.budget.hold(text.len())?;
    }
    Ok(Some(Value::string(text)))
}

/// As `str` of clojure.core: strings bare, nil as nothing, everything else as it is written.
fn push_text(out: &mut String, value: &Option<Value>) {
    match value {
        None => {}
        Some(Value::String(text) | Value::Uri(text)) => out.push_str(text),
        Some(Value::Instant(instant)) => {
            let _ = write!(out, "{instant}");
        }
        Some(Value::BigInt(int)) => {
            let _ = write!(out, "{int}");
        }
        Some(Value::BigDec(dec)) => {
            let _ = write!(out, "{dec}");
        }
        Some(Value::Uuid(_)) => {
            let written = Edn::from(value.as_ref().expect("matched above")).to_string();
            out.push_str(written.trim_start_matches("#uuid ").trim_matches('"'));
        }
        Some(value) => {
            let _ = write!(out, "{value}");
        }
    }
}

fn subs(env: &Env<'_>, args: &[Option<Value>]) -> Result<Option<Value>> {
    let text = text("subs", &args[0])?;
    let index = |arg: &Option<Value>| match arg {
        Some(Value::Long(index)) => Ok(*index),
        other => Err(wrong_type("subs", "a start and an end", other)),
    };
    let length = text.chars().count() as i64;
    let start = index(&args[1])?;
    let end = args.get(2).map_or(Ok(length), index)?;
    if start < 0 || start > end || end > length {
        let message = format!("subs from {start} to {end} does not lie within a string of {length} characters");
        return Err(Error::incorrect("db.error/out-of-range", message));
    }
    made(env, text.chars().skip(start as usize).take((end - start) as usize).collect())
}

pub(super) fn compile(pattern: &str) -> Result<Regex> {
    let error = |problem: String| Error::incorrect("db.error/invalid-regex", problem);
    if pattern.len() > REGEX_TEXT_BYTES_MAX {
        return Err(error(format!(
            "a regular expression of {} bytes; the limit is {REGEX_TEXT_BYTES_MAX}",
            pattern.len()
        )));
    }
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build().map_err(|problem| {
        match problem {
            regex::Error::CompiledTooBig(_) => {
                error(format!("the regular expression {pattern:?} compiles to more than {REGEX_BYTES_MAX} bytes"))
            }
            problem => {
                // The last line says what; those before it draw a picture.
                let text = problem.to_string();
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                error(format!("{pattern:?} is no regular expression: {reason}"))
            }
        }
    })
}

fn search<'a>(env: &Env<'_>, function: &str, args: &'a [Option<Value>]) -> Result<(Regex, &'a str)> {
    Ok((env.regex(text(function, &args[0])?)?, haystack(env, function, &args[1])?))
}

/// The searched text; long ones ask for time first.
fn haystack<'a>(env: &Env<'_>, function: &str, value: &'a Option<Value>) -> Result<&'a str> {
    let text = text(function, value)?;
    if text.len() >= LONG_BYTES {
        env.budget.look()?;
    }
    Ok(text)
}

/// The match, or the match and its groups as a tuple.
fn groups(captures: &Captures<'_>) -> Value {
    if captures.len() == 1 {
        return Value::string(&captures[0]);
    }
    Value::Tuple(Arc::new(captures.iter().map(|group| group.map(|group| Value::string(group.as_str()))).collect()))
}
