//! Functions of every shape, with `outcome` and without: timed, each does as before, and neither rustc nor clippy finds fault
//! with what the attribute wrote.
#![deny(warnings)]
#![allow(clippy::boxed_local, clippy::unused_async, reason = "the shape is what is tested")]

mod definitions;
mod futures;
mod parameters;
mod receivers;
