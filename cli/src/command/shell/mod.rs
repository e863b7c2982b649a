//! `diachron shell`: queries, transactions and commands line by line.
//!
//! On a terminal lines are edited, remembered and completed, and control-C cancels what runs. From a pipe or a file
//! forms are read and their results printed. Either way an error is told and does not end the shell.

mod commands;
mod complete;
mod input;
mod session;

use super::Outcome;
use super::failure::{self, Failure};
use super::settings::Settings;
use client::Client;
use complete::{Completion, Names, SharedNames};
use input::{Input, is_complete};
use reedline::{
    ColumnarMenu, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder, Prompt, PromptEditMode,
    PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal, ValidationResult, Validator,
    default_emacs_keybindings,
};
use session::{Next, Session};
use std::borrow::Cow;
use std::future::Future;
use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::signal::unix::{SignalKind, signal};

/// Inputs that are remembered from one shell to the next.
const HISTORY_MAX: usize = 1000;
/// An input from a pipe that does not end.
const INPUT_BYTES_MAX: usize = proto::MESSAGE_BYTES_MAX;
const MENU: &str = "completion";
/// What ends the prompt.
const INDICATOR: &str = "> ";

pub(super) async fn run(
    connect: impl Future<Output = Result<Client, Failure>>,
    database: Option<String>,
    settings: &Settings,
) -> Outcome {
    let client = connect.await?;
    let url = client.url().to_owned();
    let names: SharedNames = Arc::new(Mutex::new(Names::default()));
    let database = database.or_else(|| settings.usual_database());
    let session = Session::begin(client, database, settings.set_format(), names.clone()).await?;
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        println!("diachron {}, peer {url}; :help lists the commands", env!("CARGO_PKG_VERSION"));
        on_terminal(session, names).await
    } else {
        from_pipe(session).await
    }
}

/// Forms and commands, each where it ends; the first failure's exit code is the whole one's.
async fn from_pipe(mut session: Session) -> Outcome {
    let mut lines = std::io::stdin().lock();
    let (mut text, mut first_failure, mut at_end) = (String::new(), None, false);
    while !at_end {
        at_end = lines.read_line(&mut text).map_err(|error| Failure::file("standard input", &error))? == 0;
        if !at_end && !is_complete(&text) && text.len() <= INPUT_BYTES_MAX {
            continue;
        }
        let outcome = match Input::of(&text) {
            Ok(input) => session.run(input).await,
            Err(error) => Err(Failure::Error(error)),
        };
        text.clear();
        match outcome {
            Ok(Next::Go) => {}
            Ok(Next::Quit) => break,
            Err(failure) if is_reader_gone(&failure) => return Err(failure),
            Err(failure) => {
                let code = failure::tell(&failure);
                first_failure.get_or_insert(code);
            }
        }
    }
    first_failure.map_or(Ok(()), |code| Err(Failure::Told(code)))
}

async fn on_terminal(mut session: Session, names: SharedNames) -> Outcome {
    let mut editor = editor(names);
    loop {
        // Listens from before the terminal interrupts again, which it does as soon as the line is read; and anew for
        // each line, so that none is cancelled by what was pressed before it.
        let mut interrupts = signal(SignalKind::interrupt())?;
        let text = match editor.read_line(&Place(session.place())) {
            Ok(Signal::Success(text)) => text,
            Ok(Signal::CtrlD) => return Ok(()),
            Ok(_) => continue,
            Err(error) => return Err(Failure::Output(std::io::Error::other(error.to_string()))),
        };
        let input = match Input::of(&text) {
            Ok(input) => input,
            Err(error) => {
                failure::tell(&Failure::Error(error));
                continue;
            }
        };
        let changes = matches!(input, Input::Command(commands::Command::Transact, _));
        // Dropping the call tells the peer to stop.
        let outcome = tokio::select! {
            outcome = session.run(input) => outcome,
            _ = interrupts.recv() => {
                let what = if changes { "given up; it may have been committed: see :log" } else { "cancelled" };
                let _ = writeln!(std::io::stderr(), "\n{what}");
                continue;
            }
        };
        match outcome {
            Ok(Next::Go) => {}
            Ok(Next::Quit) => return Ok(()),
            Err(failure) if is_reader_gone(&failure) => return Err(failure),
            Err(failure) => {
                failure::tell(&failure);
            }
        }
    }
}

fn is_reader_gone(failure: &Failure) -> bool {
    matches!(failure, Failure::Output(error) if error.kind() == ErrorKind::BrokenPipe)
}

fn editor(names: SharedNames) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let complete = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(complete));
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    // The prompt stays as it is while there are offers.
    let menu = ColumnarMenu::default().with_name(MENU).with_marker(INDICATOR);
    let editor = Reedline::create()
        .with_completer(Box::new(Completion(names)))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(Brackets))
        // A single offer is taken at once, and what all offers begin with.
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_ansi_colors(std::env::var_os("NO_COLOR").is_none());
    match history() {
        Ok(history) => editor.with_history(Box::new(history)),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "warning: inputs are not remembered: {why}");
            editor
        }
    }
}

/// What was typed before, in a file that only its owner reads: queries may name secrets.
fn history() -> Result<FileBackedHistory, String> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    let directory = state.ok_or("neither XDG_STATE_HOME nor HOME is set")?.join("diachron");
    history_in(directory)
}

fn history_in(directory: PathBuf) -> Result<FileBackedHistory, String> {
    let path = directory.join("history");
    let within = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(within)?;
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(within)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(within)?;
    FileBackedHistory::with_file(HISTORY_MAX, path).map_err(|error| error.to_string())
}

/// Goes on with the input until its brackets are closed.
struct Brackets;

impl Validator for Brackets {
    fn validate(&self, text: &str) -> ValidationResult {
        if is_complete(text) { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

struct Place(String);

impl Prompt for Place {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed(INDICATOR)
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("… ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reedline::{History, HistoryItem};

    #[test]
    fn the_history_is_bounded_and_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("diachron");
        let mut history = history_in(place.clone()).unwrap();
        for n in 0..HISTORY_MAX + 10 {
            history.save(HistoryItem::from_command_line(format!("[:find\n {n}]"))).unwrap();
        }
        drop(history);
        let file = place.join("history");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), HISTORY_MAX);
        // One that others could read is closed to them.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(history_in(place).unwrap());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
