//! Keeps the state that outlives the process in a file. It knows no contents: each owner encodes and decodes its part.

mod file;
mod keeper;

pub(crate) use file::{Parts, SavedState, StateFile};
pub(crate) use keeper::{PartSender, StateHandle, StateKeeper, StateTelemetry};
