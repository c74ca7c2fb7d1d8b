//! The Mycelia host as a library; the binary `mycelia` is a thin wrapper.

pub mod abi;
pub mod cli;
pub mod config;
pub mod control;
pub mod dev;
pub mod figures;
pub mod letters;
pub mod load;
pub mod loader;
pub mod log;
pub mod metrics;
pub mod operator;
pub mod readings;
pub mod report;
pub mod run;
pub mod runtime;
pub mod service;
pub mod status;
pub mod validate;
pub mod watch;
pub mod why;
