//! What the fuzzer calls: one function a target, which takes any bytes, must not panic, and checks what must hold of the
//! answer. Each says whether the bytes were accepted, so that the corpora can be held to have both kinds.
//!
//! The functions know no fuzzer: the tests run them over the committed corpora with the stable compiler.

pub mod bodies;
pub mod config;
pub mod http;
pub mod library;
pub mod path;
pub mod state;

/// A target: whether it accepts these bytes.
pub type Target = fn(&[u8]) -> bool;

/// Every target with its name, which is that of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("bodies", bodies::one),
    ("config", config::one),
    ("http", http::one),
    ("library", library::one),
    ("path", path::one),
    ("state", state::one),
];
