//! What a terminal shows of what a program writes to it.
//!
//! As much of the escape codes as line editors use: moving, erasing, scrolling, and the question where the cursor is.
//! Colours and modes are read over. Lines that scrolled away are kept, so that a whole session can be looked at.

use vte::{Params, Perform};

pub const ROWS: u16 = 40;
pub const COLUMNS: u16 = 120;

/// Lines from the first one ever shown; the screen is the last [`ROWS`] of them.
#[derive(Default)]
pub struct Screen {
    lines: Vec<Vec<char>>,
    /// The first line that can still be moved to.
    top: usize,
    row: usize,
    /// May stand behind the last column: the next character begins a new row.
    column: usize,
    saved: (usize, usize),
    /// What the program asked and is still to be told.
    answers: Vec<u8>,
}

impl Screen {
    /// A line without the blanks at its end; nothing where none is.
    pub fn line(&self, number: usize) -> String {
        let line: String = self.lines.get(number).into_iter().flatten().collect();
        line.trim_end().to_owned()
    }

    /// The number of the line with the cursor.
    pub fn cursor_line(&self) -> usize {
        self.top + self.row
    }

    /// The line with the cursor, up to the cursor.
    pub fn before_cursor(&self) -> String {
        self.lines.get(self.cursor_line()).into_iter().flatten().take(self.column).collect()
    }

    /// All that was ever shown.
    pub fn text(&self) -> String {
        (0..self.lines.len()).map(|number| self.line(number) + "\n").collect()
    }

    /// What the program waits for.
    pub fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    fn current(&mut self) -> &mut Vec<char> {
        let number = self.cursor_line();
        if self.lines.len() <= number {
            self.lines.resize(number + 1, Vec::new());
        }
        &mut self.lines[number]
    }

    fn line_feed(&mut self) {
        if self.row + 1 < usize::from(ROWS) {
            self.row += 1;
        } else {
            self.top += 1;
        }
        self.current();
    }

    fn go(&mut self, row: usize, column: usize) {
        self.row = row.min(usize::from(ROWS) - 1);
        self.column = column.min(usize::from(COLUMNS) - 1);
    }

    fn erase_display(&mut self, what: usize) {
        match what {
            0 => {
                self.erase_line(0);
                let number = self.cursor_line();
                self.lines.truncate(number + 1);
            }
            1 => {
                self.erase_line(1);
                let (top, number) = (self.top, self.cursor_line());
                self.lines[top..number].iter_mut().for_each(Vec::clear);
            }
            // A cleared screen is a new one: what was on it stays among the lines that are gone.
            _ => self.top = self.lines.len(),
        }
    }

    fn erase_line(&mut self, what: usize) {
        let column = self.column;
        let line = self.current();
        match what {
            0 => line.truncate(column),
            1 => line.iter_mut().take(column + 1).for_each(|c| *c = ' '),
            _ => line.clear(),
        }
    }
}

impl Perform for Screen {
    fn print(&mut self, c: char) {
        if self.column == usize::from(COLUMNS) {
            self.column = 0;
            self.line_feed();
        }
        let column = self.column;
        let line = self.current();
        if line.len() <= column {
            line.resize(column + 1, ' ');
        }
        line[column] = c;
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.line_feed(),
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _: bool, action: char) {
        // Modes of one terminal or another.
        if !intermediates.is_empty() {
            return;
        }
        let given: Vec<usize> = params.iter().map(|param| usize::from(param.first().copied().unwrap_or(0))).collect();
        let number = |at: usize| given.get(at).copied().unwrap_or(0);
        let count = number(0).max(1);
        let (row, column) = (self.row, self.column);
        match action {
            'A' => self.go(row.saturating_sub(count), column),
            'B' => self.go(row + count, column),
            'C' => self.go(row, column + count),
            'D' => self.go(row, column.saturating_sub(count)),
            'E' => self.go(row + count, 0),
            'F' => self.go(row.saturating_sub(count), 0),
            'G' => self.go(row, count - 1),
            'H' | 'f' => self.go(count - 1, number(1).max(1) - 1),
            'J' => self.erase_display(number(0)),
            'K' => self.erase_line(number(0)),
            'S' => self.top += count,
            'n' if number(0) == 6 => self.answers.extend(format!("\x1b[{};{}R", row + 1, column + 1).bytes()),
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        match (intermediates, byte) {
            ([], b'7') => self.saved = (self.row, self.column),
            ([], b'8') => (self.row, self.column) = self.saved,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, lines: &[&str], before_cursor: &str) {
        let mut screen = Screen::default();
        vte::Parser::new().advance(&mut screen, written.as_bytes());
        assert_eq!(screen.text().lines().collect::<Vec<_>>(), lines, "{written:?}");
        assert_eq!(screen.before_cursor(), before_cursor, "{written:?}");
    }

    #[test]
    fn what_is_written_over_and_erased_is_gone() {
        check("one\r\ntwo", &["one", "two"], "two");
        check("one\r\x1b[31mT\x1b[0m", &["Tne"], "T");
        check("one\r\ntwo\x1b[1A\x1b[2G\x1b[J", &["o"], "o");
        check("one\x1b7\r\ntwo\x1b8\x1b[K!", &["one!", "two"], "one!");
        check("ab\x1b[2K", &[""], "");
    }

    #[test]
    fn lines_that_scroll_away_are_kept_and_the_cursor_is_told_within_the_screen() {
        let mut screen = Screen::default();
        let mut parser = vte::Parser::new();
        for n in 0..100 {
            parser.advance(&mut screen, format!("line {n}\r\n").as_bytes());
        }
        parser.advance(&mut screen, b"> \x1b[6n");
        assert_eq!(screen.line(0), "line 0");
        assert_eq!(screen.before_cursor(), "> ");
        assert_eq!(screen.take_answers(), format!("\x1b[{ROWS};3R").as_bytes());
        parser.advance(&mut screen, &[b'x'; COLUMNS as usize]);
        assert_eq!(screen.before_cursor(), "xx");
    }
}
