//! Numbered messages: whether each sender's came once each and in order, over all instances that had the state.

use crate::Faulty;
use mycelia_plugin::prelude::*;
use std::collections::BTreeMap;

/// Of how many violations there are texts.
const TOLD: usize = 3;

/// What came of each sender's numbers, which begin with 1.
#[derive(Clone, Default, Serialize, Deserialize, Schema)]
pub(crate) struct Sequences {
    last: BTreeMap<String, u64>,
    total: u64,
    violations: u64,
    first: Vec<String>,
}

impl Sequences {
    fn enter(&mut self, sender: String, number: u64) {
        self.total += 1;
        let last = self.last.get(&sender).copied().unwrap_or(0);
        if last.checked_add(1) != Some(number) {
            self.violations += 1;
            if self.first.len() < TOLD {
                self.first.push(format!("{sender}: {number} after {last}"));
            }
        }
        self.last.insert(sender, number);
    }
}

impl Faulty {
    pub(crate) fn sequence(&mut self, sender: Param<String>, number: Body<u64>) -> Result<()> {
        self.count(sender, number).map(drop)
    }

    /// As `sequence`, for senders that want an answer.
    pub(crate) fn count(&mut self, sender: Param<String>, number: Body<u64>) -> Result<u64> {
        self.stamp.arrive();
        self.kept.sequences.enter(sender.0, number.0);
        Ok(number.0)
    }

    pub(crate) fn sequences(&mut self) -> Result<Sequences> {
        Ok(self.kept.sequences.clone())
    }

    pub(crate) fn total(&mut self) -> Result<u64> {
        Ok(self.kept.sequences.total)
    }
}
