//! Shows the senders of lines.

use serde::Serialize;

use crate::model::Sender;

/// A sender in an answer; `null` if the kernel does not tell.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum SenderFields {
    Unknown,
    /// An address, with or without a port.
    Address {
        address: String,
    },
    Process {
        pid: i32,
        uid: u32,
    },
}

impl From<Sender> for SenderFields {
    fn from(sender: Sender) -> Self {
        match sender {
            Sender::Unknown => SenderFields::Unknown,
            Sender::Address(_) | Sender::Host(_) => SenderFields::Address { address: sender.to_string() },
            Sender::Process { pid, uid } => SenderFields::Process { pid, uid },
        }
    }
}
