//! What a process tells its operator: events with fields on stderr, as lines for people or as JSON for programs.
//! Stdout is for results.
//!
//! The macros are `tracing`'s. Events name what they are about in fields (`database`, `t`, `term`, `error`); those
//! made while a request is served carry its span, and with it the request's correlation id. Neither tx-data nor
//! what a query was given is ever logged.

pub use tracing::{Span, debug, error, field, info, info_span, instrument, warn};

use crate::clock::{Clock, SystemClock};
use std::panic::PanicHookInfo;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

/// How a process logs.
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub struct Options {
    /// How events are written on stderr: a line for people, or a JSON object a line.
    #[arg(long, env = "DIACHRON_LOG_FORMAT", value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub log_format: Format,

    /// The least grave events that are written.
    #[arg(long, env = "DIACHRON_LOG_LEVEL", value_enum, value_name = "LEVEL", default_value_t = Level::Info)]
    pub log_level: Level,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
    /// Every request with its outcome.
    Debug,
}

impl Default for Options {
    fn default() -> Self {
        Options { log_format: Format::Text, log_level: Level::Info }
    }
}

/// Logs to stderr from now on, panics included. The first call of a process decides.
pub fn start(options: Options) {
    if tracing::subscriber::set_global_default(subscriber(options, std::io::stderr)).is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// The crates that say something to an operator. The libraries beneath them, which below `warn` speak about every
/// frame of a connection, are heard from `warn` on.
const OURS: [&str; 3] = ["diachron_process", "transactor", "peer"];

/// What takes events and writes them.
fn subscriber<W>(options: Options, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A closed stderr must not end the process, which telling stderr about it would.
    let lines = layer::<Registry>().with_writer(writer).with_ansi(false).with_timer(Now).log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match options.log_format {
        Format::Text => lines.with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let level = match options.log_level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let ours = OURS.map(|name| (name, level));
    let targets = Targets::new().with_default(level.min(LevelFilter::WARN)).with_targets(ours);
    tracing_subscriber::registry().with(lines).with(targets)
}

/// A log's time is for people, so it is the system's, whatever clock the process was given.
struct Now;

impl FormatTime for Now {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", SystemClock.now())
    }
}

/// A panic's words may quote what it met; more than this of them is not needed to find it.
const PANIC_TEXT_BYTES_MAX: usize = 400;

fn log_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("without a message");
    let text = text.char_indices().take_while(|(at, _)| *at < PANIC_TEXT_BYTES_MAX).map(|(_, c)| c);
    let thread = std::thread::current();
    error!(
        thread = thread.name().unwrap_or("without a name"),
        at = panic.location().map(field::display),
        "panicked: {}",
        text.collect::<String>()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What was written, kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(log_format: Format, log_level: Level, events: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = subscriber(Options { log_format, log_level }, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_event_is_a_line_with_its_time_level_fields_and_span() {
        let said = lines(Format::Text, Level::Info, || {
            let _span = info_span!("request", correlation_id = "abc").entered();
            info!(database = "world", t = 7, "open");
            debug!("not of interest");
        });
        assert_eq!(said.len(), 1, "{said:?}");
        let (time, rest) = said[0].split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.contains('T'), "{time}");
        assert_eq!(rest.trim(), r#"INFO request{correlation_id="abc"}: open database="world" t=7"#);
    }

    #[test]
    fn an_event_is_an_object_with_its_fields_beside_its_message() {
        let said = lines(Format::Json, Level::Debug, || {
            let _span = info_span!("request", correlation_id = "abc").entered();
            debug!(database = "a \"name\"\n", t = 7, "open");
        });
        assert_eq!(said.len(), 1, "{said:?}");
        let event: serde_json::Value = serde_json::from_str(&said[0]).unwrap();
        assert_eq!(event["level"], "DEBUG");
        assert_eq!(
            (&event["message"], &event["database"], &event["t"]),
            (&"open".into(), &"a \"name\"\n".into(), &7.into())
        );
        assert_eq!(event["span"]["correlation_id"], "abc");
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'), "{event}");
    }

    #[test]
    fn only_events_as_grave_as_asked_for_are_written() {
        for (level, expected) in [(Level::Error, 1), (Level::Warn, 2), (Level::Info, 3), (Level::Debug, 4)] {
            let said = lines(Format::Text, level, || {
                error!("1");
                warn!("2");
                info!("3");
                debug!("4");
            });
            assert_eq!(said.len(), expected, "{level:?}");
        }
    }
}
