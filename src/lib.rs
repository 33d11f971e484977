//! tallyd.
pub mod aggregate;
pub mod export;
pub mod flush;
pub mod listen;
pub mod protocol;
pub mod series;
pub mod snapshot;
