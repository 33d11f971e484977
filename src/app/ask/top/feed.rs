//! Asks tallyd for news after each interval, on a thread of its own.

use std::io::BufRead;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use super::state::Message;
use crate::app::ask::answers::{Answers, Status, Talkers};
use crate::app::ask::client::Client;
use crate::app::ask::error::AskError;
use crate::app::ask::live::LiveEvents;

/// The time between two attempts to connect again.
const RETRY: Duration = Duration::from_secs(1);

/// Asks for everything that the screen shows. Before the first interval ends, there are no talkers.
pub(super) fn answers(client: &Client) -> Result<Answers, AskError> {
    let status: Status = client.get("status", &[])?;
    let talkers = match status.interval {
        Some(_) => client.get("talkers", &[])?,
        None => Talkers::default(),
    };
    Ok(Answers { status, talkers, rejected: client.get("rejected", &[])? })
}

/// Sends answers after each interval, and the reason whenever the connection is lost. Returns when nobody receives the
/// messages any more.
pub(super) fn run(client: &Client, messages: &SyncSender<Message>) {
    loop {
        let lost = match client.live(&[]) {
            Ok(events) => follow(client, events, messages),
            Err(error) => error,
        };
        if messages.send(Message::Lost(lost.to_string())).is_err() {
            return;
        }
        thread::sleep(RETRY);
    }
}

/// Sends answers after each event until the connection is lost. Returns the reason.
fn follow(client: &Client, events: LiveEvents<impl BufRead>, messages: &SyncSender<Message>) -> AskError {
    for event in events {
        let answers = match event {
            Ok(event) if event.kind == "interval" => answers(client),
            Ok(_) => continue,
            Err(error) => return client.broken(Some(error)),
        };
        match answers {
            // Without a receiver, `run` notices at its own message.
            Ok(answers) => _ = messages.send(Message::Answers(Box::new(answers))),
            Err(error) => return error,
        }
    }
    client.broken(None)
}
