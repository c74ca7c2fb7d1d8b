//! The thread that accepts connections.

use crate::{Plan, connection, exchange::Gateway, host::Host};
use mycelia_plugin::{Level, Result};
use std::{future::Future, io, net, pin::pin, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::watch,
    task::{JoinSet, LocalSet},
    time::{sleep, timeout},
};

/// How many connections that are too many are answered at a time; more are closed without a word.
const REFUSALS: usize = 64;
/// How long to wait when the system has no connection to give, as when it is out of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Serves until `stop` is done and running requests have ended, or `drain_timeout` has passed.
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
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = self.connections.join_next() => {}
                Some(_) = self.refusals.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, client)) => self.take(stream, client),
                    Err(error) => self.accept_failed(&error).await,
                },
            }
        }
        // What has not been accepted waits for the next generation: the host has the socket, too.
        drop(listener);
        self.drain().await;
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

    async fn drain(mut self) {
        self.closing.send_replace(true);
        let drained = async { while self.connections.join_next().await.is_some() {} };
        if timeout(self.gateway.plan.limits.drain_timeout, drained).await.is_err() {
            let left = self.connections.len();
            self.gateway
                .host
                .log(Level::Warn, format_args!("{left} connections were cut by `drain_timeout`"));
        }
    }
}
