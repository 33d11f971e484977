//! Measures stalls, and prints them as a Markdown table.

use std::thread;
use std::time::{Duration, Instant};

use crate::receiver::Receiver;

/// The rows of the report, in the order of their first measurement.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

struct Row {
    title: &'static str,
    /// The longest time for a datagram in each measurement.
    longest: Vec<Duration>,
    /// The longest time for a datagram in an equal span without the action, in each measurement.
    control: Vec<Duration>,
}

impl Report {
    /// Measures the longest time for a datagram during an action, and during an equal span without the action.
    pub(crate) fn measure(&mut self, title: &'static str, receiver: &Receiver, action: impl FnOnce()) {
        let begin = Instant::now();
        receiver.take_longest();
        action();
        let longest = receiver.take_longest();
        thread::sleep(begin.elapsed());
        let control = receiver.take_longest();
        match self.0.iter_mut().find(|row| row.title == title) {
            Some(row) => {
                row.longest.push(longest);
                row.control.push(control);
            }
            None => self.0.push(Row { title, longest: vec![longest], control: vec![control] }),
        }
    }

    pub(crate) fn print(&mut self) {
        println!("| longest time to record a datagram | median | most | control: median | most |");
        println!("|---|---:|---:|---:|---:|");
        for Row { title, longest, control } in &mut self.0 {
            longest.sort_unstable();
            control.sort_unstable();
            let (median, most) = (longest.len() / 2, longest.len() - 1);
            println!(
                "| {title} | {:.1?} | {:.1?} | {:.1?} | {:.1?} |",
                longest[median], longest[most], control[median], control[most]
            );
        }
    }
}
