//! What the bench `memory` found, in a file for the report: criterion keeps times alone.

use mycelia_gate::Workspace;
use serde::{Deserialize, Serialize};
use std::{error::Error, fs, path::Path};

/// What the bench found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// By way of a message.
    pub costs: Vec<Cost>,
    /// Messages over which resident memory was looked at.
    pub messages: u64,
    /// Resident memory after them, in bytes.
    pub resident: u64,
    /// What it has grown by meanwhile, in bytes.
    pub grown: u64,
}

/// What a message takes on one way, once everything is warm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The way.
    pub name: String,
    /// Allocations a message.
    pub allocations: f64,
    /// Bytes a message that were allocated.
    pub bytes: f64,
}

/// The folder below that of what cargo builds where figures are kept for the report.
pub const FOLDER: &str = "report";
/// The file of this bench there.
pub const FILE: &str = "memory.json";

impl Memory {
    /// Keeps it for the report.
    ///
    /// # Errors
    /// If the folder is not found, or the file cannot be written.
    pub fn keep(&self) -> Result<(), Box<dyn Error>> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Workspace::open(own, "memory")?.target.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(FILE), serde_json::to_vec_pretty(self)?)?)
    }
}
