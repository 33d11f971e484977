//! Functions of every shape, with `outcome` and without. Each does the same when it is timed, and neither rustc nor clippy warns
//! about the code that the attribute writes.
#![deny(warnings)]
#![allow(clippy::boxed_local, clippy::unused_async, reason = "the tests need these shapes")]

mod definitions;
mod futures;
mod parameters;
mod receivers;
