//! The gate on repositories that are built and counted: a tiny one of its own, and a copy of this workspace.
//!
//! These need valgrind and iai-callgrind-runner, and are built with `--features counting-tests` alone.
//! Where a tool is missing they fail with what the gate says, which is the command that installs it.
#![allow(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod fixture;
mod repeat;
mod rules;
mod tree;
