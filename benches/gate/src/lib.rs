//! The instruction gate: counts what benches of iai-callgrind execute, and compares with a committed baseline.
//!
//! Instructions repeat exactly where nanoseconds do not, so a change of 1% can be told from none.
//! The program `mycelia-gate` is these steps in a row; each can be had alone:
//!
//! 1. [`Workspace`]: which packages have such benches;
//! 2. [`Tools`]: valgrind, the runner of iai-callgrind, and what they count;
//! 3. [`Baseline`]: what was counted when it was written, for each [`Fingerprint`];
//! 4. [`Base`]: where no section has this fingerprint, a commit to count as well;
//! 5. [`Comparison`]: what is worse, and whether that is too much.
//!
//! The last run is never compared with: it would make a red run green when it is repeated.

mod base;
mod baseline;
mod comparison;
mod counts;
mod error;
mod fingerprint;
mod tools;
mod workspace;

pub use base::Base;
pub use baseline::Baseline;
pub use comparison::{Comparison, Judgement, Row};
pub use counts::Counts;
pub use error::Error;
pub use fingerprint::Fingerprint;
pub use tools::Tools;
pub use workspace::{Package, Workspace};
