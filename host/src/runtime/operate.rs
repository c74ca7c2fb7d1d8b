//! What the operator may do: the [`Operator`] of the control server and the command line.

use super::{Runtime, Slot, kernel::routes_of, send::Header, template::Template};
use crate::{
    abi::Message,
    letters::{Filter, Letter, ReplayReport},
    log,
    operator::{Done, Operator, OperatorReply, ReloadDone},
    readings::Readings,
    report::ReloadReport,
    status::{RouteCounts, RouteStatus, Status},
    why::Why,
};
use mycelia_kernel::ids::SubsystemId;
use mycelia_plugin::{
    Error, Handled, Result,
    abi::{
        flags,
        host::{BodyRef, outcome_error},
    },
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The operator's open requests.
#[derive(Default)]
pub struct Waiting {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Done>>,
}

impl Waiting {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Done>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime {
    /// Begins a reload of every subsystem whose file no longer holds what it serves; what comes of it is in the log. `then`
    /// runs when that has ended, unless the host stops before.
    pub fn reload_changed(&self, then: impl FnOnce() + Send + 'static) {
        self.lifecycle.reload_changed(Box::new(then));
    }

    /// The longest that an orderly stop takes, while plugins stop within their limits: it waits for the queues to drain, for
    /// what is left to be buried, and for the workers.
    pub fn longest_stop(&self) -> Duration {
        3 * self.drain_timeout + self.subsystems().map(|slot| slot.settings.limit).sum::<Duration>()
    }

    /// Hands an outcome to whoever waits for it.
    pub(super) fn finish_waiting(&self, token: u64, outcome: Message) {
        let done = self.waiting.open().remove(&token);
        let result = self.read_outcome(&outcome);
        self.pool.release(&outcome);
        if let Some(done) = done {
            done(result);
        }
    }

    fn read_outcome(&self, outcome: &Message) -> Result<OperatorReply> {
        let body = outcome_error(outcome, self.pool.content(outcome))?;
        let is_json = outcome.flags & flags::ENCODING == flags::JSON;
        Ok(OperatorReply { body: body.to_vec(), is_json })
    }

    /// Resolves a path for the operator and makes the message.
    fn operators_message(
        &self,
        path: &str,
        body: &[u8],
        deadline: u64,
        reply: u64,
    ) -> Result<(SubsystemId, Message)> {
        let operator = self.slot(SubsystemId::OPERATOR);
        let (header, prefix) = self.resolve_outside(operator, path, 0)?;
        let body = BodyRef { bytes: body, schema: 0, flags: flags::RAW | flags::EDGE };
        let header = Header { deadline, reply, ..header };
        Ok((header.to, self.message(header, &prefix, &body)?))
    }

    fn begin_ask(&self, path: &str, body: &[u8], within: u64, token: u64) -> Result<()> {
        let deadline = self.deadline(self.now(), within, 0);
        let operator = self.slot(SubsystemId::OPERATOR);
        let began = self.time_outside();
        let id = self.begin_request(operator, deadline, Template::outside(0, token))?;
        let sent = self.operators_message(path, body, deadline, id.pack());
        sent.and_then(|(to, message)| {
            let to = self.slot(to);
            self.send_outside(to, message, began, |message| self.enqueue_or_wait(to, message))
        })
        .inspect_err(|_| self.withdraw_request(id))
    }
}

impl Runtime {
    /// The last reload of a subsystem that was committed.
    pub fn last_reload(&self, name: &str) -> Option<ReloadReport> {
        self.named(name)?.info().last_reload.clone()
    }
}

impl Operator for Runtime {
    fn status(&self) -> Status {
        Status {
            uptime_s: Duration::from_nanos(self.now()).as_secs_f64(),
            workers: self.worker_count,
            lost_threads: self.subsystems().map(|slot| slot.info().lost_threads).sum(),
            subsystems: self.subsystems().map(|slot| (slot.name.clone(), slot.status())).collect(),
            retained_generations: self
                .retained
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            dead_letters: self.letters.status(),
            config_changed: self.config.is_changed(),
            memory_rss_bytes: rss(),
        }
    }

    fn readings(&self) -> Readings {
        let table = self.tables.load();
        let of = |slot: &Slot| (slot.name.clone(), slot.tally.read(&table, slot.id));
        let subsystems = self.subsystems().map(of).collect();
        let (cache_hits, cache_misses) = self.timing.caches();
        Readings {
            subsystems,
            cache_hits,
            cache_misses,
            pool_bytes: self.pool.budget(),
            pool_used_bytes: self.pool.used(),
            cpu: cpu(),
            status: self.status(),
        }
    }

    fn live(&self) -> Result<(), String> {
        self.look_for_life()
    }

    fn ready(&self) -> Result<(), String> {
        if self.is_stopping() {
            return Err("the host stops".into());
        }
        let required = self.subsystems().filter(|slot| slot.settings.required);
        let down = required.filter_map(|slot| {
            let phase = slot.info().phase;
            (!phase.serves()).then(|| format!("`{}` is {}", slot.name, phase.word()))
        });
        let down: Vec<String> = down.collect();
        if down.is_empty() { Ok(()) } else { Err(down.join(", ")) }
    }

    fn send(&self, path: &str, body: &[u8]) -> Result<()> {
        let began = self.time_outside();
        let (to, message) = self.operators_message(path, body, 0, 0)?;
        let to = self.slot(to);
        self.send_outside(to, message, began, |message| self.enqueue_or_wait(to, message))
    }

    fn ask(&self, path: &str, body: &[u8], within: Option<Duration>, done: Done) {
        let within = within.map_or(0, |within| within.as_nanos() as u64);
        let token = self.waiting.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.open().insert(token, done);
        if let Err(error) = self.begin_ask(path, body, within, token) {
            let done = self.waiting.open().remove(&token);
            done.expect("a request that did not begin has no outcome")(Err(error));
        }
    }

    fn reload(&self, name: &str, done: ReloadDone) {
        match self.named(name) {
            Some(slot) => self.lifecycle.reload(slot.id, done),
            None => done(Err(no_subsystem(name, self.subsystems().map(|slot| &*slot.name)))),
        }
    }

    fn routes(&self, name: &str) -> Result<Vec<RouteCounts>> {
        let names = || self.subsystems().map(|slot| &*slot.name);
        let slot = self.named(name).ok_or_else(|| no_subsystem(name, names()))?;
        let table = self.tables.load();
        let readings = slot.tally.read(&table, slot.id);
        let counts = |route: RouteStatus| {
            let ends = readings.routes.get(&route.pattern).copied().unwrap_or_default();
            RouteCounts { route, ends }
        };
        Ok(routes_of(&table, slot.id, name).map(counts).collect())
    }

    fn why(&self, path: &str, sender: &str) -> Result<Why> {
        self.explain(path, sender)
    }

    fn log(&self) -> String {
        log::present()
    }

    fn set_log(&self, directives: &str) -> Result<String> {
        let present =
            log::change(directives).map_err(|text| Error::invalid(text).handled(Handled::No))?;
        for slot in self.subsystems() {
            slot.level.store(log::level_for(&slot.name), Ordering::Relaxed);
        }
        self.lifecycle.log_changed();
        Ok(present)
    }

    fn dead_letters(&self, filter: &Filter) -> Vec<Arc<Letter>> {
        self.letters.find(filter)
    }

    fn replay(&self, filter: &Filter) -> ReplayReport {
        self.replay_letters(filter)
    }

    fn purge(&self, filter: &Filter) -> u64 {
        self.letters.purge(filter)
    }

    fn stop(&self) {
        self.lifecycle.stop();
    }
}

/// Nobody has this name; those are there.
pub(super) fn no_subsystem<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<&str> = names.collect();
    let text = format!(
        "there is no subsystem `{}`; there are `{}`",
        name.escape_debug(),
        names.join("`, `")
    );
    Error::not_found(text).handled(Handled::No)
}

/// CPU time of this process.
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident memory of this process in bytes; 0 where the system does not tell.
pub fn rss() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.as_deref().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    resident.unwrap_or(0) * PAGE
}

/// Bytes of a page on the systems that this runs on.
const PAGE: u64 = 4096;
