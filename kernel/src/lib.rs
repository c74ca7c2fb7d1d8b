//! The pure core of Mycelia.

pub mod asks;
pub mod cache;
pub mod idle;
pub mod ids;
pub mod ledger;
mod matcher;
pub mod message;
pub mod params;
pub mod path;
pub mod pattern;
pub mod queue;
pub mod ready;
pub mod recipient;
pub mod refusal;
pub mod ring;
pub mod scope;
mod sync;
pub mod table;
pub mod timers;
mod words;
