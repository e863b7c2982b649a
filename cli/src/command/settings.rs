//! Where the command's settings come from: flags, then the environment, then a file, then what is built in.
//!
//! ```toml
//! peers = ["http://10.0.0.1:4335", "http://10.0.0.2:4335"]   # or one text
//! timeout = 60             # seconds
//! format = "table"         # edn, json, csv
//! database = "world"       # the one meant where none is named
//! ```
//! The file is `--config FILE`, or what `DIACHRON_CONFIG` names, or `diachron/config.toml` in the user's directory for
//! configuration (`XDG_CONFIG_HOME`, `~/.config`), where it may be missing.

use super::arguments::Global;
use super::failure::Failure;
use super::{Outcome, inspect, seconds};
use crate::format::Format;
use crate::nearest::suggestion;
use clap::ValueEnum;
use client::{DEFAULT_PEER, DEFAULT_TIMEOUT};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use toml::Value;

const PEER: &str = "DIACHRON_PEER";
const TIMEOUT: &str = "DIACHRON_TIMEOUT";
const FORMAT: &str = "DIACHRON_FORMAT";
const DATABASE: &str = "DIACHRON_DATABASE";
const CONFIG: &str = "DIACHRON_CONFIG";

const KEYS: [&str; 4] = ["peers", "timeout", "format", "database"];

/// What holds for this run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) peers: Setting<Vec<String>>,
    pub(super) timeout: Setting<Duration>,
    format: Setting<Option<Format>>,
    database: Setting<Option<String>>,
    /// The file that was read, or would have been.
    file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub(super) struct Setting<A> {
    pub(super) value: A,
    origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Flag(&'static str),
    Environment(&'static str),
    File(PathBuf),
    BuiltIn,
}

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq)]
struct File {
    path: PathBuf,
    peers: Option<Vec<String>>,
    timeout: Option<Duration>,
    format: Option<Format>,
    database: Option<String>,
}

impl Settings {
    pub(super) fn resolve(flags: &Global) -> Result<Settings, Failure> {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (path, must_be_there) = match flags.config.clone().or_else(|| environment(CONFIG).map(PathBuf::from)) {
            Some(path) => (Some(path), true),
            None => (usual_file(environment), false),
        };
        let file = match &path {
            None => File::default(),
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => read(&text, path.clone()).map_err(Failure::Usage)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_be_there => File::default(),
                Err(error) => return Err(Failure::file(&path.display().to_string(), &error)),
            },
        };
        Settings::of(flags, environment, file, path)
    }

    fn of(
        flags: &Global,
        environment: impl Fn(&str) -> Option<String>,
        file: File,
        path: Option<PathBuf>,
    ) -> Result<Settings, Failure> {
        let from = |name: &str| environment(name);
        let wrong = |name: &str, why: String| Failure::Usage(format!("{name}: {why}"));
        let peers = |text: String| text.split(',').map(|url| url.trim().to_owned()).collect::<Vec<_>>();
        let told_peers = (!flags.peer.is_empty()).then(|| flags.peer.iter().cloned().flat_map(peers).collect());
        let timeout = from(TIMEOUT).map(|text| seconds(&text)).transpose().map_err(|why| wrong(TIMEOUT, why))?;
        let format = from(FORMAT).map(|text| format_named(&text)).transpose().map_err(|why| wrong(FORMAT, why))?;
        let at = file.path;
        Ok(Settings {
            peers: Setting::first("--peer", told_peers, PEER, from(PEER).map(peers), &at, file.peers)
                .or(vec![DEFAULT_PEER.to_owned()]),
            timeout: Setting::first("--timeout", flags.timeout, TIMEOUT, timeout, &at, file.timeout)
                .or(DEFAULT_TIMEOUT),
            format: Setting::first("--format", flags.format, FORMAT, format, &at, file.format),
            database: Setting::first("", None, DATABASE, from(DATABASE), &at, file.database),
            file: path,
        })
    }

    /// The format of a command that knows some formats. One that was asked for by a flag and cannot be is an error;
    /// one that is set for all commands gives way.
    pub(super) fn format(&self, usual: Format, possible: &[Format]) -> Result<Format, Failure> {
        match (self.format.value, &self.format.origin) {
            (Some(format), _) if possible.contains(&format) => Ok(format),
            (Some(_), Origin::Flag(_)) => {
                let names: Vec<String> = possible.iter().map(|format| format!("--format {}", name(*format))).collect();
                Err(Failure::Usage(format!("this cannot be shown so; there is {}", names.join(", "))))
            }
            _ => Ok(usual),
        }
    }

    /// The database that a command names, or else the one that is set.
    pub(super) fn database(&self, named: Option<String>) -> Result<String, Failure> {
        named.or_else(|| self.database.value.clone()).ok_or_else(|| {
            Failure::Usage(format!("name a database: as the first argument, in {DATABASE}, or in the configuration"))
        })
    }

    /// The database that is set, if one is.
    pub(super) fn usual_database(&self) -> Option<String> {
        self.database.value.clone()
    }

    /// The format that is set for all commands, if one is.
    pub(super) fn set_format(&self) -> Option<Format> {
        self.format.value
    }

    /// Shows every setting and where it comes from.
    pub(super) fn show(&self) -> Outcome {
        let format = self.format(Format::Table, &[Format::Table, Format::Edn, Format::Json, Format::Csv])?;
        let unset = || "(none)".to_owned();
        let rows = [
            ("peers", self.peers.value.join(","), &self.peers.origin),
            ("timeout", self.timeout.value.as_secs_f64().to_string(), &self.timeout.origin),
            (
                "format",
                self.format.value.map_or("(each command's own)".to_owned(), |format| name(format).to_owned()),
                &self.format.origin,
            ),
            ("database", self.database.value.clone().unwrap_or_else(unset), &self.database.origin),
            ("config", self.file.as_ref().map_or_else(unset, |path| path.display().to_string()), &Origin::BuiltIn),
        ];
        let rows = rows.map(|(key, value, origin)| {
            let from = match (key, &self.file) {
                ("config", Some(path)) if path.exists() => "read".to_owned(),
                ("config", _) => "not there".to_owned(),
                _ => origin.to_string(),
            };
            [key.to_owned(), value, from].map(|text| inspect::text(&text)).to_vec()
        });
        inspect::write_rows(format, &["setting", "value", "from"], rows.into_iter())
    }
}

impl<A> Setting<Option<A>> {
    fn first(
        flag: &'static str,
        flag_value: Option<A>,
        variable: &'static str,
        environment: Option<A>,
        path: &std::path::Path,
        file: Option<A>,
    ) -> Self {
        let flag = flag_value.map(|value| (value, Origin::Flag(flag)));
        let environment = environment.map(|value| (value, Origin::Environment(variable)));
        let file = file.map(|value| (value, Origin::File(path.to_owned())));
        match flag.or(environment).or(file) {
            Some((value, origin)) => Setting { value: Some(value), origin },
            None => Setting { value: None, origin: Origin::BuiltIn },
        }
    }

    fn or(self, built_in: A) -> Setting<A> {
        Setting { value: self.value.unwrap_or(built_in), origin: self.origin }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => write!(f, "flag {flag}"),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::BuiltIn => f.write_str("built in"),
        }
    }
}

fn usual_file(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let directory = environment("XDG_CONFIG_HOME").map(PathBuf::from);
    let directory = directory.or_else(|| Some(PathBuf::from(environment("HOME")?).join(".config")));
    Some(directory?.join("diachron/config.toml"))
}

fn read(text: &str, path: PathBuf) -> Result<File, String> {
    let within = |message: String| format!("{}: {message}", path.display());
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| within(error.to_string().trim().to_owned()))?;
    let mut file = File { path: path.clone(), ..File::default() };
    for (key, value) in table {
        let wrong = |wanted: &str| within(format!("`{key}` is to be {wanted}, but here is one {}", value.type_str()));
        match (key.as_str(), &value) {
            ("peers", Value::String(url)) => file.peers = Some(vec![url.clone()]),
            ("peers", Value::Array(urls)) => {
                let urls: Option<Vec<String>> = urls.iter().map(|url| url.as_str().map(str::to_owned)).collect();
                file.peers = Some(urls.filter(|urls| !urls.is_empty()).ok_or_else(|| wrong("a list of URLs"))?);
            }
            ("peers", _) => return Err(wrong("a URL or a list of URLs")),
            ("timeout", Value::Integer(_) | Value::Float(_)) => {
                let number = value.as_float().or(value.as_integer().map(|whole| whole as f64)).unwrap_or_default();
                let timeout = seconds(&number.to_string()).map_err(|why| within(format!("`timeout`: {why}")))?;
                file.timeout = Some(timeout);
            }
            ("timeout", _) => return Err(wrong("a number of seconds")),
            ("format", Value::String(format)) => {
                file.format = Some(format_named(format).map_err(|why| within(format!("`format`: {why}")))?);
            }
            ("format", _) => return Err(wrong("the name of a format in quotes")),
            ("database", Value::String(database)) => file.database = Some(database.clone()),
            ("database", _) => return Err(wrong("the name of a database in quotes")),
            _ => {
                let near = suggestion(&key, KEYS);
                return Err(within(format!("there is no setting `{key}`{near}; there are {}", KEYS.join(", "))));
            }
        }
    }
    Ok(file)
}

fn format_named(text: &str) -> Result<Format, String> {
    Format::from_str(text, false).map_err(|_| {
        let names = Format::value_variants().iter().map(|format| name(*format));
        format!("there is no format `{text}`{}", suggestion(text, names))
    })
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Table => "table",
        Format::Edn => "edn",
        Format::Json => "json",
        Format::Csv => "csv",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "peers = ['http://f:1', 'http://f:2']\ntimeout = 1.5\nformat = 'json'\ndatabase = 'of-file'\n";

    fn settings(flags: Global, environment: &[(&str, &str)], file: &str) -> Settings {
        let environment =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        let path = PathBuf::from("/etc/d.toml");
        Settings::of(&flags, environment, read(file, path.clone()).unwrap(), Some(path)).unwrap()
    }

    #[test]
    fn flags_come_before_the_environment_before_the_file_before_what_is_built_in() {
        let built_in = settings(Global::default(), &[], "");
        assert_eq!((built_in.peers.value, built_in.peers.origin), (vec![DEFAULT_PEER.to_owned()], Origin::BuiltIn));
        assert_eq!(built_in.timeout.value, DEFAULT_TIMEOUT);

        let of_file = settings(Global::default(), &[], FILE);
        assert_eq!(of_file.peers.value, ["http://f:1", "http://f:2"]);
        assert_eq!(of_file.peers.origin, Origin::File("/etc/d.toml".into()));
        assert_eq!(of_file.timeout.value, Duration::from_millis(1500));
        assert_eq!(of_file.database(None).unwrap(), "of-file");
        assert_eq!(of_file.database(Some("named".into())).unwrap(), "named");

        let environment = [(PEER, "http://e:1, http://e:2"), (TIMEOUT, "2"), (DATABASE, "of-environment")];
        let told = settings(Global::default(), &environment, FILE);
        assert_eq!(told.peers.value, ["http://e:1", "http://e:2"]);
        assert_eq!(told.timeout.origin, Origin::Environment(TIMEOUT));
        assert_eq!(told.database(None).unwrap(), "of-environment");
        assert_eq!(told.format.value, Some(Format::Json));

        let flags = Global {
            peer: vec!["http://x:1".into()],
            timeout: Some(Duration::from_secs(3)),
            format: Some(Format::Csv),
            config: None,
        };
        let flagged = settings(flags, &environment, FILE);
        assert_eq!(
            (flagged.peers.value, flagged.peers.origin),
            (vec!["http://x:1".to_owned()], Origin::Flag("--peer"))
        );
        assert_eq!((flagged.timeout.value, flagged.format.value), (Duration::from_secs(3), Some(Format::Csv)));
    }

    #[test]
    fn a_format_for_all_commands_gives_way_where_it_cannot_be() {
        let csv = Global { format: Some(Format::Csv), ..Global::default() };
        let pull = [Format::Edn, Format::Json];
        assert!(settings(csv, &[], "").format(Format::Edn, &pull).is_err());
        assert_eq!(
            settings(Global::default(), &[(FORMAT, "csv")], "").format(Format::Edn, &pull).unwrap(),
            Format::Edn
        );
        assert_eq!(settings(Global::default(), &[], FILE).format(Format::Edn, &pull).unwrap(), Format::Json);
    }

    #[test]
    fn what_the_file_gets_wrong_is_named() {
        let refused = |text: &str| read(text, "/etc/d.toml".into()).unwrap_err();
        assert_eq!(
            refused("peer = 'http://x'"),
            "/etc/d.toml: there is no setting `peer`; do you mean peers?; there are peers, timeout, format, database"
        );
        assert!(refused("timeout = 'long'").contains("`timeout` is to be a number of seconds, but here is one string"));
        assert!(refused("timeout = 0").contains("`timeout`: between 0.001"));
        assert!(refused("format = 'jsn'").contains("there is no format `jsn`; do you mean json?"));
        assert!(refused("peers = []").contains("a list of URLs"));
        assert!(refused("peers = [").starts_with("/etc/d.toml: TOML parse error at line 1"));
    }
}
