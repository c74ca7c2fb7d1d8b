//! The Mycelia host as a library; the binary `mycelia` is a thin wrapper.

pub mod abi;
pub mod config;
pub mod loader;
pub mod operator;
pub mod runtime;
pub mod status;
