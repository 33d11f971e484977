//! `tallyd top`: a live view in a terminal.
//!
//! Three threads send messages to the loop: one asks tallyd, one reads keys, and one waits for signals. The loop
//! changes the state and draws it.

mod feed;
#[cfg(test)]
mod sample;
mod screen;
mod state;
mod views;

use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::client::Client;
use super::error::AskError;
use state::{Message, Top};

/// The most messages that wait to be drawn. A thread that sends more has to wait.
const WAITING: usize = 16;

/// The signals that end the program. In a terminal, Ctrl-C is a key and not a signal.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP];

/// Shows what tallyd receives until a person quits or a signal comes. Restores the terminal then.
pub(super) fn run(client: &Client) -> Result<(), AskError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        let problem = "top needs a terminal; for scripts, there are `tallyd tail`, `tallyd series` and `tallyd talkers`";
        return Err(AskError::Options(problem.to_owned()));
    }
    let mut top = Top::new(client.url().to_string(), client.warning(), feed::answers(client)?);
    let signals: SigSet = ENDING.into_iter().collect();
    // Threads inherit this, so that only the one that waits for signals gets them.
    signals.thread_block().map_err(io::Error::from)?;
    let (sender, messages) = sync_channel(WAITING);
    let _restored = Restored;
    let mut terminal = ratatui::try_init()?;
    let feed_client = client.clone();
    start(&sender, move |messages| feed::run(&feed_client, messages));
    start(&sender, read_keys);
    start(&sender, move |_| _ = signals.wait());
    drop(sender);
    loop {
        terminal.draw(|frame| screen::draw(&top, frame))?;
        if receive(&mut top, &messages).is_none() {
            return Ok(());
        }
    }
}

/// Takes the messages that are there into account, and waits for one if there is none. Returns `None` at the end.
fn receive(top: &mut Top, messages: &Receiver<Message>) -> Option<()> {
    let first = messages.recv().ok()?;
    for message in std::iter::once(first).chain(messages.try_iter().take(WAITING)) {
        if top.receive(message).is_break() {
            return None;
        }
    }
    Some(())
}

/// Runs a task on a thread. When the task ends, or panics, the program ends.
fn start(sender: &SyncSender<Message>, task: impl FnOnce(&SyncSender<Message>) + Send + 'static) {
    let ending = EndsProgram(sender.clone());
    thread::spawn(move || task(&ending.0));
}

/// Ends the program when it is dropped.
struct EndsProgram(SyncSender<Message>);

impl Drop for EndsProgram {
    fn drop(&mut self) {
        // This fails only if the program has ended.
        _ = self.0.send(Message::End);
    }
}

/// Sends keys until the terminal is closed.
fn read_keys(messages: &SyncSender<Message>) {
    while let Ok(event) = event::read() {
        let message = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => Message::Key(key),
            Event::Resize(..) => Message::Resized,
            _ => continue,
        };
        if messages.send(message).is_err() {
            return;
        }
    }
}

/// Restores the terminal when it is dropped. After a panic, the hook of ratatui has done so before the message.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        // A terminal that is gone cannot be restored.
        _ = ratatui::try_restore();
    }
}
