//! The program around the pipeline: command line, configuration, log, start and stop, and the tools.

pub mod check;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod explain;
pub mod log;
pub mod send;
