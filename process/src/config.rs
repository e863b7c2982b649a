//! How a program is configured: a flag goes before the environment, the environment before a TOML file, the file
//! before the default.
//!
//! The flags, declared with clap, are the one list of what can be set. A key of the file is a flag's name without its
//! dashes in front; a key that is none is an error. `--print-config` shows what came of it all, as a file that could be
//! given with `--config`.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, Parser};
use db::edit_distance;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where else configuration comes from.
#[derive(clap::Args, Clone, Debug, Default)]
#[group(skip)]
pub struct Options {
    /// A TOML file of settings, each named as its flag is: `queue = 4096`. Flags and environment go before it.
    #[arg(long, env = "DIACHRON_SERVER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Show every setting with its value and where that comes from, and end.
    #[arg(long)]
    pub print_config: bool,
}

/// A file of settings is a page, not a book.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Flags that are no settings.
const NO_SETTINGS: [&str; 4] = ["config", "print-config", "help", "version"];

/// The configuration of this program, which must have [`Options`] among its flags. Ends the program when there is an
/// error to tell, help to give or the configuration to print.
pub fn parse<C: Parser>() -> C {
    match read::<C>(std::env::args_os().collect()) {
        Ok(Read::Config(config)) => config,
        Ok(Read::Print(text)) => {
            print!("{text}");
            std::process::exit(0);
        }
        Err(error) => error.exit(),
    }
}

/// The environment variable of a setting.
pub fn env_name(long: &str) -> String {
    format!("DIACHRON_{}", long.replace('-', "_").to_uppercase())
}

enum Read<C> {
    Config(C),
    Print(String),
}

fn read<C: Parser>(args: Vec<OsString>) -> Result<Read<C>, clap::Error> {
    let command = C::command();
    // What is required may be in the file.
    let said = command.clone().mut_args(|arg| arg.required(false)).try_get_matches_from(&args)?;
    let file = said.get_one::<PathBuf>("config").cloned();
    let from_file = match &file {
        Some(path) => settings(&command, path)?,
        None => Vec::new(),
    };
    let is_said = |arg: &Arg| {
        matches!(said.value_source(arg.get_id().as_str()), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let from_file: Vec<Setting> = from_file.into_iter().filter(|setting| !is_said(&setting.arg)).collect();

    let (program, flags) = args.split_at(args.len().min(1));
    let from_file_as_flags = from_file.iter().filter_map(Setting::as_flags);
    let all: Vec<OsString> = program.iter().cloned().chain(from_file_as_flags).chain(flags.iter().cloned()).collect();
    let matches = command.clone().try_get_matches_from(&all).map_err(|error| match &file {
        // Without the file it may be right, or only incomplete.
        Some(path) if !from_file.is_empty() && !is_wrong(&command, &args) => {
            let said = error.to_string();
            let said = said.strip_prefix("error: ").unwrap_or(&said);
            clap::Error::raw(error.kind(), format!("{}: {said}", path.display()))
        }
        _ => error,
    })?;
    if matches.get_flag("print_config") {
        let from_file = from_file.iter().map(|setting| setting.arg.get_id().as_str()).collect();
        return Ok(Read::Print(print(&command, &matches, &from_file, file.as_deref())));
    }
    C::from_arg_matches(&matches).map(Read::Config)
}

fn is_wrong(command: &Command, args: &[OsString]) -> bool {
    match command.clone().try_get_matches_from(args) {
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::MissingRequiredArgument,
    }
}

/// A setting of the file.
struct Setting {
    arg: Arg,
    value: String,
}

impl Setting {
    fn as_flags(&self) -> Option<OsString> {
        let name = self.arg.get_long()?;
        match self.arg.get_action() {
            ArgAction::SetTrue => (self.value == "true").then(|| format!("--{name}").into()),
            _ => Some(format!("--{name}={}", self.value).into()),
        }
    }
}

fn settings(command: &Command, path: &Path) -> Result<Vec<Setting>, clap::Error> {
    let wrong =
        |message: String| clap::Error::raw(ErrorKind::ValueValidation, format!("{}: {message}\n", path.display()));
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(wrong(format!("it has {length} bytes, a file of settings has {FILE_BYTES_MAX} at most")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    let known: Vec<&Arg> = command.get_arguments().filter(|arg| is_setting(arg)).collect();
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for (key, value) in table {
        let Some(arg) = known.iter().find(|arg| arg.get_long() == Some(key.as_str())) else {
            problems.push(format!("`{key}` is no setting of {}{}", command.get_name(), near(&key, &known)));
            continue;
        };
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            _ => {
                problems.push(format!("`{key}` takes a string, a number, true or false"));
                continue;
            }
        };
        found.push(Setting { arg: (*arg).clone(), value });
    }
    if problems.is_empty() { Ok(found) } else { Err(wrong(problems.join("; "))) }
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some_and(|long| !NO_SETTINGS.contains(&long))
}

/// What a key may have been meant to be.
fn near(key: &str, known: &[&Arg]) -> String {
    let key = key.replace('_', "-");
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .filter_map(|arg| arg.get_long())
        .map(|long| (edit_distance(&key, long), long))
        .filter(|(distance, long)| *distance <= long.len() / 3 || (key.len() > 2 && long.starts_with(&key)))
        .collect();
    near.sort();
    let names: Vec<String> = near.iter().take(3).map(|(_, long)| format!("`{long}`")).collect();
    if names.is_empty() { "; --help lists them".to_owned() } else { format!("; near it are {}", names.join(", ")) }
}

fn print(command: &Command, matches: &ArgMatches, from_file: &BTreeSet<&str>, file: Option<&Path>) -> String {
    let mut text = String::new();
    for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
        let (id, long) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
        let source = match (matches.value_source(id), file) {
            (_, Some(path)) if from_file.contains(id) => path.display().to_string(),
            (Some(ValueSource::CommandLine), _) => "the command line".to_owned(),
            (Some(ValueSource::EnvVariable), _) => {
                format!("{} in the environment", arg.get_env().unwrap_or_default().to_string_lossy())
            }
            _ => "the default".to_owned(),
        };
        let raw = matches.get_raw(id).and_then(|mut values| values.next());
        // A String takes all that is written.
        let _ = match raw {
            Some(raw) => writeln!(text, "{long} = {}  # {source}", value(&raw.to_string_lossy())),
            None => writeln!(text, "# {long} is not set"),
        };
    }
    text
}

/// A value as TOML, without the password that a URL may hold.
fn value(text: &str) -> String {
    if matches!(text, "true" | "false") || text.parse::<i64>().is_ok() {
        return text.to_owned();
    }
    let text = without_password(text);
    let escaped = text.chars().fold(String::new(), |mut escaped, c| {
        let _ = match c {
            '"' | '\\' => write!(escaped, "\\{c}"),
            c if c.is_control() => write!(escaped, "\\u{:04X}", c as u32),
            c => write!(escaped, "{c}"),
        };
        escaped
    });
    format!("\"{escaped}\"")
}

fn without_password(text: &str) -> String {
    let parts = || {
        let (scheme, rest) = text.split_once("://")?;
        let (user, host) = rest.split('/').next()?.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        let path = &rest[user.len() + 1 + host.len()..];
        Some(format!("{scheme}://{name}:***@{host}{path}"))
    };
    parts().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests;
