//! The loading ladder with the real probe, in a process of its own: it counts what is mapped, and how much memory there is.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod support;

mod damage;
mod probe;
mod unload;
