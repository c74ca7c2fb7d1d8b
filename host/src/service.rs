//! What a service manager is told: systemd's protocol of datagrams, from a thread of its own.
//!
//! It judges nothing: `READY=1` is what `/readyz` says, and `WATCHDOG=1` is sent while `/livez` says ok. Without
//! `NOTIFY_SOCKET` there is no thread. Others only note what happens, so that a manager that does not read holds up nobody.

use crate::{operator::Operator, runtime::Runtime};
use sd_notify::NotifyState;
use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often it looks whether the status has changed, and how long it waits for a manager that does not read.
const LOOK: Duration = Duration::from_secs(1);

/// The thread that tells; when dropped it says that the host stops, and ends.
pub struct Service {
    teller: Teller,
    thread: Option<JoinHandle<()>>,
}

/// By which it is told what happens.
#[derive(Clone)]
pub struct Teller(Arc<Shared>);

#[derive(Default)]
struct Shared {
    news: Mutex<News>,
    changed: Condvar,
}

/// What has happened so far.
#[derive(Copy, Clone, Default, PartialEq)]
struct News {
    has_started: bool,
    reloads_begun: u64,
    reloads_ended: u64,
    stops: bool,
    is_over: bool,
}

impl Service {
    /// One for the manager that the environment names, if it does.
    pub fn of_environment(runtime: &'static Runtime) -> Option<Service> {
        let address = env::var_os("NOTIFY_SOCKET")?;
        let started = Service::start(&address, sd_notify::watchdog_enabled(), runtime);
        let complain = |error: &io::Error| {
            tracing::error!("the service manager at {} hears nothing: {error}", address.display());
        };
        started.inspect_err(complain).ok()
    }

    /// One for the manager at this address, a path or `@` and an abstract name, which wants a sign every so often.
    ///
    /// # Errors
    /// It is no such address, or the system gives no socket or no thread.
    pub fn start(
        address: &OsStr,
        watchdog: Option<Duration>,
        runtime: &'static Runtime,
    ) -> io::Result<Service> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(LOOK))?;
        // Some signs may be late or lost.
        let feeding = watchdog.map(|every| every / 3);
        let line = Line { socket, address: resolve(address)?, runtime, feeding };
        let shared = Arc::<Shared>::default();
        let teller = Teller(Arc::clone(&shared));
        let thread = thread::Builder::new().name("mycelia-service".into());
        let thread = thread.spawn(move || line.tell(&shared))?;
        Ok(Service { teller, thread: Some(thread) })
    }

    /// Tells it what happens.
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.teller.note(|news| news.is_over = true);
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its hook, and the host ends anyway.
            let _ = thread.join();
        }
    }
}

impl Teller {
    /// Everything was started.
    pub fn started(&self) {
        self.note(|news| news.has_started = true);
    }

    /// A reload was asked for.
    pub fn reload_begins(&self) {
        self.note(|news| news.reloads_begun += 1);
    }

    /// It has ended.
    pub fn reload_ends(&self) {
        self.note(|news| news.reloads_ended += 1);
    }

    /// A stop was asked for.
    pub fn stops(&self) {
        self.note(|news| news.stops = true);
    }

    fn note(&self, what: impl FnOnce(&mut News)) {
        what(&mut self.0.news());
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The news, once there are other ones than `known`, or after a while.
    fn wait(&self, known: News, limit: Duration) -> News {
        let waited = self.changed.wait_timeout_while(self.news(), limit, |news| *news == known);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The way to the manager, and what is told over it.
struct Line {
    socket: UnixDatagram,
    address: SocketAddr,
    runtime: &'static Runtime,
    /// How often the manager's watchdog is fed.
    feeding: Option<Duration>,
}

/// What the manager knows.
#[derive(Default)]
struct Told {
    is_ready: bool,
    reloads: u64,
    is_reloading: bool,
    stops: bool,
    status: String,
    fed: Option<Instant>,
}

impl Line {
    fn tell(&self, shared: &Shared) {
        let (mut told, mut news) = (Told::default(), *shared.news());
        loop {
            let live = self.runtime.live();
            self.tell_news(&mut told, news);
            self.tell_status(&mut told, live.as_ref().err());
            if news.is_over {
                return;
            }
            if live.is_ok() {
                self.feed(&mut told);
            }
            news = shared.wait(news, self.feeding.unwrap_or(LOOK).min(LOOK));
        }
    }

    fn tell_news(&self, told: &mut Told, news: News) {
        if !told.stops && (news.stops || news.is_over || self.runtime.is_stopping()) {
            told.stops = true;
            // So that `drain_timeout` may be longer than the unit's own limit.
            let time = self.runtime.longest_stop().as_micros();
            let time = NotifyState::ExtendTimeoutUsec(u32::try_from(time).unwrap_or(u32::MAX));
            return self.send(&[NotifyState::Stopping, time]);
        }
        if told.stops {
            return;
        }
        if !told.is_ready {
            told.is_ready = news.has_started && self.runtime.is_ready();
            told.reloads = news.reloads_begun;
            if told.is_ready {
                self.send(&[NotifyState::Ready]);
            }
            return;
        }
        // Each that was asked for is told, even one that has ended since: the manager may wait for it.
        if told.reloads != news.reloads_begun {
            (told.reloads, told.is_reloading) = (news.reloads_begun, true);
            let now = NotifyState::monotonic_usec_now();
            self.send(&[NotifyState::Reloading, now.expect("the system has a monotonic clock")]);
        }
        if told.is_reloading && news.reloads_ended == news.reloads_begun {
            told.is_reloading = false;
            self.send(&[NotifyState::Ready]);
        }
    }

    fn tell_status(&self, told: &mut Told, stuck: Option<&String>) {
        let status = match stuck {
            Some(stuck) => format!("stuck: {stuck}"),
            None if told.stops => "stops".into(),
            None if told.is_reloading => "reloads what has changed".into(),
            None => self.summary(),
        };
        if told.status != status {
            self.send(&[NotifyState::Status(&status)]);
            told.status = status;
        }
    }

    /// How many subsystems serve, and which do not.
    fn summary(&self) -> String {
        let (mut all, mut down) = (0, Vec::new());
        for slot in self.runtime.subsystems() {
            let phase = slot.info().phase;
            all += 1;
            if !phase.serves() {
                down.push(format!("{} is {}", slot.name, phase.word()));
            }
        }
        match (down.as_slice(), all) {
            ([], 1) => "1 subsystem runs".into(),
            ([], all) => format!("{all} subsystems run"),
            (down, all) => {
                format!("{} of {all} subsystems run; {}", all - down.len(), down.join(", "))
            }
        }
    }

    /// Says that the host is live, if it is time for that.
    fn feed(&self, told: &mut Told) {
        let Some(feeding) = self.feeding else { return };
        let is_due = told.fed.is_none_or(|fed| fed.elapsed() >= feeding);
        if is_due && told.is_ready {
            self.send(&[NotifyState::Watchdog]);
            told.fed = Some(Instant::now());
        }
    }

    /// Lines in one datagram; one that does not arrive is nobody's loss but the manager's.
    fn send(&self, states: &[NotifyState<'_>]) {
        let text: String = states.iter().map(|state| format!("{state}\n")).collect();
        if let Err(error) = self.socket.send_to_addr(text.as_bytes(), &self.address) {
            tracing::warn!("the service manager was not told {:?}: {error}", text.trim_end());
        }
    }
}

/// By hand, since `sd_notify::notify` knows no abstract name.
fn resolve(address: &OsStr) -> io::Result<SocketAddr> {
    match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(address),
    }
}
