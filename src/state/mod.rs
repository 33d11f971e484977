//! Keeps the state that outlives the process in a file. It knows no contents: each owner encodes and decodes its part.

mod disk;
mod file;
mod keeper;

pub use disk::{Disk, FileSystem, NewFile};
pub use file::{OpenError, Parts, SavedState, StateFile};
pub(crate) use keeper::StateHandle;
pub use keeper::{PartSender, StateKeeper, StateTelemetry};
