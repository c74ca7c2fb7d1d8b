//! The thread that accepts connections.

use crate::{Plan, connection, exchange::Gateway, host::Host};
use mycelia_plugin::{Level, Result};
use std::{future::Future, io, mem, net, pin::pin, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::watch,
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, timeout_at},
};

/// How many connections that are too many are answered at a time; more are closed without a word.
const REFUSALS: usize = 64;
/// How long to wait when the system has no connection to give, as when it is out of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until `stop` is done, then until the connections of that moment have ended or `linger` has passed, and then no
/// new connection: until running requests have ended, or `drain_timeout` has passed since `stop`.
///
/// # Errors
/// If the runtime cannot be made.
pub(crate) fn run<H: Host>(
    listener: net::TcpListener,
    plan: Arc<Plan>,
    host: H,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    LocalSet::new().block_on(&runtime, async {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Server::new(Gateway { plan, host }).serve(listener, stop).await;
        Ok(())
    })
}

struct Server<H> {
    gateway: Rc<Gateway<H>>,
    connections: JoinSet<()>,
    refusals: JoinSet<()>,
    /// Closed once the connections that were told of it have ended.
    closing: watch::Sender<bool>,
}

impl<H: Host> Server<H> {
    fn new(gateway: Gateway<H>) -> Self {
        Server {
            gateway: Rc::new(gateway),
            connections: JoinSet::new(),
            refusals: JoinSet::new(),
            closing: watch::Sender::new(false),
        }
    }

    async fn serve(mut self, listener: TcpListener, stop: impl Future<Output = ()>) {
        self.accept_until(&listener, stop).await;
        let limits = self.gateway.plan.limits;
        let end = Instant::now() + limits.drain_timeout;
        let linger = end.min(Instant::now() + limits.linger);
        let before = mem::replace(&mut self.closing, watch::Sender::new(true));
        before.send_replace(true);
        // Nobody new waits while idle connections have their last chance.
        self.accept_until(&listener, timeout_at(linger, before.closed())).await;
        // What has not been accepted waits for the next generation: the host has the socket, too.
        drop(listener);
        self.drain(end).await;
    }

    async fn accept_until<T>(&mut self, listener: &TcpListener, end: impl Future<Output = T>) {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                biased;
                _ = &mut end => return,
                Some(_) = self.connections.join_next() => {}
                Some(_) = self.refusals.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, client)) => self.take(stream, client),
                    Err(error) => self.accept_failed(&error).await,
                },
            }
        }
    }

    fn take(&mut self, stream: TcpStream, client: net::SocketAddr) {
        if self.connections.len() < self.gateway.plan.limits.connections {
            let served =
                connection::serve(self.gateway.clone(), stream, client, self.closing.subscribe());
            self.connections.spawn_local(served);
        } else if self.refusals.len() < REFUSALS {
            self.refusals.spawn_local(connection::refuse(stream));
        }
    }

    async fn accept_failed(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            self.gateway.host.log(Level::Warn, format_args!("cannot take a connection: {error}"));
            sleep(BREATH).await;
        }
    }

    async fn drain(mut self, end: Instant) {
        let drained = async {
            while self.connections.join_next().await.is_some() {}
            while self.refusals.join_next().await.is_some() {}
        };
        if timeout_at(end, drained).await.is_err() {
            let left = self.connections.len();
            self.gateway
                .host
                .log(Level::Warn, format_args!("{left} connections were cut by `drain_timeout`"));
        }
    }
}
