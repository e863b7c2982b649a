//! The bar of an import, on a terminal only.

use crate::command::counted;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(bytes_total: Option<u64>) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let template = match bytes_total {
            Some(_) => "{bar:30} {percent:>3}%  {binary_bytes_per_sec}  {eta} left  {msg}",
            None => "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {msg}",
        };
        let bar = bytes_total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        Progress(match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// Transactions that become durable out of order never move the bar back.
    pub(super) fn reached(&self, end_offset: u64) {
        self.0.set_position(end_offset.max(self.0.position()));
    }

    pub(super) fn committed(&self, end_offset: u64, transactions: u64, datoms: u64) {
        self.reached(end_offset);
        self.0.set_message(format!("{}, {}", counted(transactions, "transaction"), counted(datoms, "datom")));
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
