//! Shows the senders of lines.

use serde::Serialize;

use crate::model::Sender;
use crate::net::container_of;

/// A sender in an answer; `null` if the kernel does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
        /// The id of its container. `None` if it is in none, has ended, or is hidden from tallyd.
        container: Option<String>,
    },
}

/// Looks up the container of a process, so this should be done soon after the line came.
impl From<Sender> for SenderFields {
    fn from(sender: Sender) -> Self {
        match sender {
            Sender::Unknown => SenderFields::Unknown,
            Sender::Address(_) | Sender::Host(_) => SenderFields::Address { address: sender.to_string() },
            Sender::Process { pid, uid } => {
                SenderFields::Process { pid, uid, container: container_of(pid).map(|container| container.id) }
            }
        }
    }
}
