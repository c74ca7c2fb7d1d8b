//! The kernel's own paths: `kernel://query/…` tells, `kernel://subsystem/…` acts, and `kernel://event/…` is published.
//!
//! It is a subsystem without a plugin: a queue, a ledger and routes like those of any other, served by a thread of its own,
//! so that it answers while every worker is busy. What acts is done by the lifecycle thread.

use super::{
    Runtime, Slot,
    lifecycle::{Caretaker, Order},
    operate::no_subsystem,
};
use crate::{
    abi::Message,
    operator::Operator,
    status::{Health, Ordered, Phase, RouteStatus, Statistics, SubsystemSummary},
};
use mycelia_kernel::{
    ids::SubsystemId,
    ledger::Ends,
    pattern::Pattern,
    queue::{Begin, Lane, Leave},
    table::{Reach, Route, Table},
};
use mycelia_plugin::{
    Error, ErrorCode, Handled, Result,
    abi::{flags, host::BodyRef},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

/// Orders that may be open at a time: the lifecycle thread takes them one by one.
const ORDERS: usize = 64;

/// What a route of the kernel's is for.
enum Serves {
    /// Tells something, of the subsystem in the path where there is one.
    Query(fn(&Runtime, &str) -> Result<Vec<u8>>),
    Order(Order),
}

use Serves::Query;

/// By the number of their route.
const ROUTES: [(&str, Serves); 10] = [
    ("query/subsystems", Query(|runtime, _| json(&runtime.summaries()))),
    ("query/subsystem/{name}", Query(|runtime, name| json(&runtime.known(name)?.status()))),
    ("query/status", Query(|runtime, _| json(&runtime.status()))),
    ("query/statistics", Query(|runtime, _| json(&runtime.statistics()))),
    ("query/routes", Query(|runtime, _| json(&all_routes(&runtime.tables.load())))),
    ("query/health", Query(|runtime, _| json(&runtime.health()))),
    ("query/errors", Query(|runtime, _| json(&runtime.errors()))),
    ("subsystem/{name}/reload", Serves::Order(Order::Reload)),
    ("subsystem/{name}/restart", Serves::Order(Order::Restart)),
    ("subsystem/{name}/stop", Serves::Order(Order::Stop)),
];

/// What happens to subsystems.
const EVENTS: [&str; 5] = [
    "event/fault/{name}",
    "event/restart/{name}",
    "event/reload/{name}",
    "event/refused/{name}",
    "event/stopped/{name}",
];

/// The kernel's routes and events, for the table.
pub(super) fn routes() -> Vec<Route> {
    let route = |pattern: &str, reach, scope: &str| {
        let pattern = Pattern::parse(pattern).expect("a constant pattern is one");
        Route { pattern, scope: Some(scope.into()), reach, body: 0, reply: 0 }
    };
    let served = ROUTES.iter().map(|(pattern, serves)| match serves {
        Query(_) => route(pattern, Reach::Anyone, "read"),
        Serves::Order(_) => route(pattern, Reach::Anyone, "control"),
    });
    served.chain(EVENTS.iter().map(|pattern| route(pattern, Reach::Event, "read"))).collect()
}

/// The way to the kernel's thread.
#[derive(Default)]
pub struct Desk {
    /// Whether the kernel has become ready, and its thread has not seen it.
    rung: Mutex<bool>,
    heard: Condvar,
    /// Orders that are not done yet.
    orders: AtomicUsize,
}

impl Desk {
    /// The kernel has become ready, or the host has finished.
    // Apart, so that waking any other subsystem costs one comparison more, and no more than that.
    #[cold]
    #[inline(never)]
    pub(super) fn ring(&self, is_ready: bool) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) |= is_ready;
        self.heard.notify_all();
    }

    /// Waits until the kernel is ready; `false` once the host has finished.
    fn wait(&self, is_finished: impl Fn() -> bool) -> bool {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            if is_finished() {
                return false;
            }
            rung = self.heard.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
        true
    }
}

impl Runtime {
    /// The kernel's own slot, the last of all.
    pub fn kernel(&self) -> &Slot {
        self.slot(self.kernel_id)
    }

    /// Serves the kernel's queue until the host has finished.
    pub(super) fn serve_kernel(&'static self) {
        let slot = self.kernel();
        let mut batch = Vec::with_capacity(slot.settings.batch);
        while self.kernel_desk.wait(|| self.is_finished()) {
            let began = slot.queue.begin();
            debug_assert_eq!(began, Begin::Run, "nobody holds the kernel");
            loop {
                if slot.queue.claim(Lane::Queue, slot.settings.batch, &mut batch) == 0 {
                    // Reserved and not yet published.
                    thread::yield_now();
                }
                slot.room.freed();
                self.expire(slot, &mut batch, self.now());
                batch.drain(..).for_each(|message| self.serve_message(slot, &message));
                if slot.queue.is_empty() && slot.queue.leave() == Leave::Idle {
                    break;
                }
            }
        }
    }

    fn serve_message(&'static self, slot: &Slot, message: &Message) {
        let name = first_parameter(message, self.pool.content(message));
        let (from, request) = (SubsystemId(message.sender as u16), message.reply);
        self.pool.release(message);
        let answered = match ROUTES.get(usize::from(message.route)) {
            Some((_, Query(query))) => query(self, &name).map(Some),
            Some((_, Serves::Order(order))) => self.give(*order, &name, from, request),
            None => Err(Error::new(ErrorCode::NoRoute, "the kernel has no such route")),
        };
        let is_handled = answered.as_ref().map_or_else(|error| error.code.is_callers(), |_| true);
        let one = u64::from(is_handled);
        slot.ledger.end(Ends { handled: one, failed: 1 - one, ..Ends::default() });
        if let Some(answer) = answered.transpose() {
            self.answer(request, answer);
        }
    }

    fn answer(&self, request: u64, answer: Result<Vec<u8>>) {
        if request == 0 {
            return;
        }
        let body = answer.as_deref().map_err(Error::clone);
        let body = body.map(|bytes| BodyRef { bytes, schema: 0, flags: flags::JSON });
        self.deliver_replies(&mut [self.reply(self.kernel().id, request, body, None)]);
    }

    /// Passes an order on. Who orders something for itself is answered here, as it may not be there to hear of the end.
    fn give(
        &'static self,
        order: Order,
        name: &str,
        from: SubsystemId,
        request: u64,
    ) -> Result<Option<Vec<u8>>> {
        let slot = self.named(name);
        let slot =
            slot.ok_or_else(|| no_subsystem(name, self.subsystems().map(|one| &*one.name)))?;
        let orders = &self.kernel_desk.orders;
        if orders.fetch_add(1, Ordering::Relaxed) >= ORDERS {
            orders.fetch_sub(1, Ordering::Relaxed);
            let text =
                format!("{ORDERS} reloads, restarts and stops wait already; ask again later");
            return Err(Error::new(ErrorCode::Busy, text).handled(Handled::No));
        }
        let own = (slot.id == from).then(|| json(&ordered(slot))).transpose()?;
        let request = if own.is_some() { 0 } else { request };
        tracing::info!(
            subsystem = slot.name,
            "`{}` asks for its {}",
            self.slot(from).name,
            order.word()
        );
        let done = Box::new(move |done: Result<Vec<u8>>| {
            self.kernel_desk.orders.fetch_sub(1, Ordering::Relaxed);
            self.answer(request, done);
        });
        self.lifecycle.order(slot.id, from, order, done);
        Ok(own)
    }

    fn known(&self, name: &str) -> Result<&Slot> {
        let mut all = self.slots[1..].iter();
        all.find(|slot| slot.name == name)
            .ok_or_else(|| no_subsystem(name, self.slots[1..].iter().map(|slot| &*slot.name)))
    }

    fn summaries(&self) -> Vec<SubsystemSummary> {
        let summary = |slot: &Slot| {
            let info = slot.info();
            SubsystemSummary {
                name: slot.name.clone(),
                phase: info.phase,
                plugin: info.plugin.clone(),
                version: info.version.clone(),
                generation: info.generation,
            }
        };
        self.subsystems().map(summary).collect()
    }

    fn statistics(&self) -> BTreeMap<String, Statistics> {
        let counts = |slot: &Slot| {
            let status = slot.status();
            let (ledger, requests, published) = (status.ledger, status.requests, status.published);
            (slot.name.clone(), Statistics { ledger, requests, published })
        };
        self.slots[1..].iter().map(counts).collect()
    }

    fn health(&self) -> Health {
        let down = self.subsystems().filter(|slot| !slot.info().phase.serves());
        Health { ready: self.is_ready(), down: down.map(|slot| slot.name.clone()).collect() }
    }

    fn errors(&self) -> BTreeMap<String, String> {
        let last = |slot: &Slot| Some((slot.name.clone(), slot.info().last_error.clone()?));
        self.subsystems().filter_map(last).collect()
    }
}

impl Caretaker {
    /// Does what was ordered; `from` is who did.
    pub fn obey(
        &mut self,
        slot: &'static Slot,
        from: SubsystemId,
        order: Order,
    ) -> Result<Vec<u8>> {
        let by = &self.runtime.slot(from).name;
        match order {
            Order::Reload => return json(&self.reload_asked(slot)?),
            Order::Restart => self.restart_asked(slot, by)?,
            Order::Stop => self.stop_asked(slot, by)?,
        }
        json(&ordered(slot))
    }

    /// Puts a fresh instance of the present build in place of the one that serves, or of none.
    fn restart_asked(&mut self, slot: &'static Slot, by: &str) -> Result<()> {
        self.check_serving()?;
        if slot.info().build.is_none() {
            let text =
                format!("`{}` has never been loaded; mend its plugin, then reload it", slot.name);
            return Err(Error::not_found(text).handled(Handled::No));
        }
        self.hold_for_reload(slot)?;
        let _planned = self.restarts.take(slot);
        let mut info = slot.info();
        (info.phase, info.snapshot) = (Phase::Restarting, None);
        drop(info);
        let renewed = self.make(slot, None).and_then(|made| {
            let until = Instant::now() + slot.settings.limit;
            if let Err(error) = self.end(slot, Some(until)) {
                self.destroy_silently(slot, made);
                return Err(error);
            }
            let build = slot.info().build.clone().expect("an instance is made from a build");
            self.take_over(slot, &build, made, &mut Default::default())
        });
        match &renewed {
            Ok(()) => {
                slot.info().phase = Phase::Running;
                self.runtime.answer_left(slot);
                let text = format!("`{by}` asked for a restart");
                let lost = "what it held in memory is gone";
                tracing::info!(subsystem = slot.name, "restarted: {text}; {lost}");
                self.runtime.announce("restart", slot, &text);
            }
            Err(error) => {
                slot.note_error(&error.to_string());
                self.end_gone(slot);
                self.give_up(slot, error);
            }
        }
        self.release(slot);
        renewed
    }

    /// What is left of an instance that cannot be replaced goes, too.
    fn end_gone(&mut self, slot: &'static Slot) {
        let ended = self.end(slot, None);
        self.complain(slot, "end", ended);
    }

    /// Stops one subsystem in order, until it is restarted or reloaded; what waits for it is dead.
    fn stop_asked(&mut self, slot: &'static Slot, by: &str) -> Result<()> {
        self.check_serving()?;
        self.hold_for_reload(slot)?;
        let _planned = self.restarts.take(slot);
        if slot.info().phase != Phase::Stopped {
            slot.info().phase = Phase::Stopping;
            let ended = self.end(slot, Some(Instant::now() + slot.settings.limit));
            self.complain(slot, "end", ended);
            self.end_probation(slot);
            let text = format!("`{by}` asked for a stop");
            tracing::info!(subsystem = slot.name, "stopped: {text}; the others go on");
            self.take_out(slot, &Error::new(ErrorCode::Gone, text));
        }
        self.release(slot);
        Ok(())
    }

    fn check_serving(&self) -> Result<()> {
        match self.runtime.is_stopping() {
            true => Err(Error::new(ErrorCode::Gone, "the host stops").handled(Handled::No)),
            false => Ok(()),
        }
    }
}

fn ordered(slot: &Slot) -> Ordered {
    let info = slot.info();
    Ordered { subsystem: slot.name.clone(), phase: info.phase, generation: info.generation }
}

fn all_routes(table: &Table) -> BTreeMap<String, Vec<RouteStatus>> {
    let of =
        |(id, name): (SubsystemId, &str)| (name.to_owned(), routes_of(table, id, name).collect());
    table.subsystems().map(of).collect()
}

/// What a subsystem serves at this moment.
pub(super) fn routes_of(
    table: &Table,
    id: SubsystemId,
    name: &str,
) -> impl Iterator<Item = RouteStatus> {
    table.routes(id).map(move |(_, route)| RouteStatus {
        pattern: route.pattern.text().into(),
        reach: match route.reach {
            Reach::Anyone => "anyone",
            Reach::HostOnly => "host",
            Reach::Event => "event",
            Reach::Listener => "listener",
        }
        .into(),
        scope: route.scope.as_ref().map(|short| format!("{name}:{short}")),
    })
}

/// The value of a pattern's first parameter, or nothing.
fn first_parameter(message: &Message, content: &[u8]) -> String {
    let length = content.first_chunk().map_or(0, |two| usize::from(u16::from_le_bytes(*two)));
    let value = content.get(2..2 + length).filter(|_| message.parameters() == 1);
    String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::failed(error.to_string()))
}
