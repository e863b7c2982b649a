//! A program on a terminal of the test's own, which types and looks at the screen as a person does.

use crate::screen::{COLUMNS, ROWS, Screen};
use crate::{PATIENCE, binary};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Dropping it kills the program; in a failing test the screen is shown.
pub struct Terminal {
    child: Child,
    keyboard: File,
    display: Arc<Display>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Display {
    screen: Mutex<Screen>,
    /// Of the screen, or of whether there is more to come.
    changed: Condvar,
    has_ended: AtomicBool,
}

pub mod keys {
    pub const ENTER: &str = "\r";
    pub const TAB: &str = "\t";
    pub const UP: &str = "\x1b[A";
    pub const CONTROL_C: &str = "\x03";
    pub const CONTROL_D: &str = "\x04";
}

impl Terminal {
    /// Starts a program of this build with the terminal as its controlling one, so that control-C interrupts it.
    pub fn start(name: &str, args: &[&str], environment: &[(&str, &str)]) -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).expect("a pseudo-terminal can be had");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("our own terminal can be opened");
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("our own terminal has a size");
        let theirs = || File::from(ioctl_tiocgptpeer(&ours, flags).expect("our own terminal has another end"));

        // The controlling terminal can only be set within the child, which std does not do without unsafe code.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(binary(name)).args(args);
        command.env("TERM", "xterm").envs(environment.iter().copied());
        command.stdin(theirs()).stdout(theirs()).stderr(theirs());
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start setsid (util-linux): {error}"));

        let keyboard = File::from(ours);
        let display = Arc::new(Display::default());
        let (from, to) = (keyboard.try_clone(), keyboard.try_clone());
        let (from, to) = from.and_then(|from| Ok((from, to?))).expect("there are file descriptors left");
        let reader = std::thread::spawn({
            let display = display.clone();
            move || display.follow(from, to)
        });
        Terminal { child, keyboard, display, reader: Some(reader) }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the program reads what is typed");
    }

    /// Types a text, and waits until it stands before the cursor.
    pub fn type_text(&mut self, text: &str) {
        self.press(text);
        self.wait_until(text, |screen| screen.before_cursor().ends_with(text));
    }

    /// Types a line after a prompt, waits until the prompt is there again, and gives the lines between.
    pub fn enter(&mut self, line: &str, prompt: &str) -> Vec<String> {
        self.type_text(line);
        self.enter_typed(prompt)
    }

    /// As [`Self::enter`], of what stands there already.
    pub fn enter_typed(&mut self, prompt: &str) -> Vec<String> {
        let begun = self.display.screen().cursor_line() + 1;
        self.press(keys::ENTER);
        self.wait_for_prompt_from(begun, prompt);
        let screen = self.display.screen();
        (begun..screen.cursor_line()).map(|number| screen.line(number)).collect()
    }

    /// Waits until the line with the cursor is the prompt alone.
    pub fn wait_for_prompt(&self, prompt: &str) {
        self.wait_for_prompt_from(0, prompt);
    }

    fn wait_for_prompt_from(&self, begun: usize, prompt: &str) {
        self.wait_until(prompt, |screen| {
            let number = screen.cursor_line();
            number >= begun && screen.before_cursor() == prompt && screen.line(number) == prompt.trim_end()
        });
    }

    /// Waits until the screen shows what is wanted, at most until the program ends.
    pub fn wait_until(&self, wanted: &str, shows: impl Fn(&Screen) -> bool) {
        let screen = self.display.screen();
        let goes_on = |screen: &mut Screen| !shows(screen) && !self.display.has_ended.load(Ordering::SeqCst);
        let waited = self.display.changed.wait_timeout_while(screen, PATIENCE, goes_on);
        let shown = shows(&waited.unwrap_or_else(PoisonError::into_inner).0);
        assert!(shown, "the screen never showed {wanted:?}");
    }

    /// Waits until the program no longer reads keys one by one, so that control-C interrupts it. Nothing tells of
    /// that, so it is looked at again and again.
    pub fn wait_until_interruptible(&self) {
        let end = Instant::now() + PATIENCE;
        let is_interruptible =
            || tcgetattr(&self.keyboard).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ISIG));
        while !is_interruptible() {
            assert!(Instant::now() < end, "the program still reads keys one by one");
            std::thread::yield_now();
        }
    }

    /// All that was ever shown.
    pub fn text(&self) -> String {
        self.display.screen().text()
    }

    /// Waits until the program ended.
    pub fn wait(mut self) -> ExitStatus {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        self.child.wait().expect("our own child can be waited for")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- the screen ---\n{}", self.text());
        }
    }
}

impl Display {
    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what the program writes and answers what it asks, until nobody holds its end of the terminal.
    fn follow(&self, mut from: File, mut to: File) {
        let mut parser = vte::Parser::new();
        let mut bytes = [0; 4096];
        // At the end Linux tells of an error rather than of no more bytes.
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let mut screen = self.screen();
            parser.advance(&mut *screen, &bytes[..count]);
            let answers = screen.take_answers();
            drop(screen);
            let _ = to.write_all(&answers);
            self.changed.notify_all();
        }
        // Under the lock, so that nobody looks before it and waits after it.
        let screen = self.screen();
        self.has_ended.store(true, Ordering::SeqCst);
        drop(screen);
        self.changed.notify_all();
    }
}
