//! Functions of every shape, with `outcome` and without. Each timed function behaves as before. Neither rustc nor
//! clippy warns about the code that the attribute writes.
#![deny(warnings)]
#![allow(clippy::boxed_local, clippy::unused_async, reason = "the tests need these shapes")]

mod definitions;
mod futures;
mod parameters;
mod receivers;
