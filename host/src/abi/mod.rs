//! The host's memory as plugins see it: messages in their wire form, and the pool of blocks behind them; and what is said
//! when a plugin writes elsewhere.
#![allow(unsafe_code, reason = "plugins write into this memory, and blocks are reached by number")]

mod crash;
mod message;
mod pool;

pub use crash::{Describe, Line, described, report_crashes};
pub use message::Message;
pub use pool::{Block, MAX_CONTENT, Magazine, Pool, PoolError};
