//! The server's thread: accepts connections, bounds what each may take, and ends them in order.

use super::guard::{Guard, Reached};
use super::live::Live;
use super::routes::{Control, router};
use super::token::Token;
use crate::operator::Operator;
use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener as AsyncListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// Wait after a failed accept, as when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one client may take of the server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: u32,
    /// Time for a request's head, and for a connection without a request.
    pub head: Duration,
    /// Time for a request's body, and for a response that its client does not read.
    pub body: Duration,
    /// Time for open requests when the server stops.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let [head, body, stop] = [5, 10, 2].map(Duration::from_secs);
        Self { connections: 64, head, body, stop }
    }
}

/// A running control server; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    token: Token,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// Serves the operator's endpoints at this listener, on a thread of its own.
///
/// # Errors
/// The system gives no thread, or does not take the listener.
pub fn serve(
    listener: TcpListener,
    token: Token,
    operator: Arc<dyn Operator>,
) -> io::Result<Server> {
    serve_with(listener, token, operator, Limits::default())
}

/// [`serve`] with other limits.
///
/// # Errors
/// Those of [`serve`].
pub fn serve_with(
    listener: TcpListener,
    token: Token,
    operator: Arc<dyn Operator>,
    limits: Limits,
) -> io::Result<Server> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let control =
        Control { operator, guard: Guard::new(address, &token), limits, live: Live::new() };
    let runtime = runtime(&control.limits)?;
    let (stop, stopping) = watch::channel(false);
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || run(runtime, listener, control, stopping))?;
    Ok(Server { address, token, stop, thread: Some(thread) })
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of its page with the token, for the operator's eyes only.
    pub fn page(&self) -> String {
        format!("{}#token={}", self.address_of_page(), self.token.secret())
    }

    /// The same without the token.
    pub fn address_of_page(&self) -> String {
        format!("http://{}/", reachable(self.address))
    }

    /// The token that actions need.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Stops it: open requests get [`Limits::stop`] to end, and the token's file is removed.
    pub fn stop(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by its hook, and there is nobody left to serve.
            let _ = thread.join();
        }
    }
}

fn runtime(limits: &Limits) -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        // One for each connection, so that a call that waits keeps no other from being made.
        .max_blocking_threads(limits.connections as usize)
        .thread_name("control-call")
        .build()
}

fn run(runtime: Runtime, listener: TcpListener, control: Control, stopping: watch::Receiver<bool>) {
    runtime.block_on(async {
        match AsyncListener::from_std(listener) {
            Ok(listener) => accept(listener, Arc::new(control), stopping).await,
            Err(error) => tracing::error!(%error, "the control server cannot listen"),
        }
    });
    // A call that still waits must not hold up the stop.
    runtime.shutdown_background();
}

async fn accept(
    listener: AsyncListener,
    control: Arc<Control>,
    mut stopping: watch::Receiver<bool>,
) {
    let limits = control.limits.clone();
    let places = Arc::new(Semaphore::new(limits.connections as usize));
    let router = router(Arc::clone(&control));
    loop {
        let (stream, place) = tokio::select! {
            _ = stopped(&mut stopping) => break,
            accepted = next(&listener, &places) => accepted,
        };
        let talk = talk(stream, router.clone(), limits.head, limits.body, stopping.clone());
        tokio::spawn(async move {
            talk.await;
            drop(place);
        });
    }
    drop(listener);
    control.live.close();
    // All places are free when the last connection has ended.
    let _ = timeout(limits.stop, places.acquire_many(limits.connections)).await;
}

async fn next(
    listener: &AsyncListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                tracing::warn!(%error, "the control server could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until its client or the server ends it.
async fn talk(
    stream: TcpStream,
    router: Router,
    head: Duration,
    body: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let Ok(reached) = stream.local_addr() else { return };
    // Both only improve the connection; it works without them.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(body));
    let service = TowerToHyperService::new(router.layer(Extension(Reached(reached))));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // An error here is the client's: it hung up, dribbled, or does not speak HTTP.
        _ = connection.as_mut() => return,
        _ = stopped(&mut stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A server that is gone stops, too.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// An address that a browser on this machine can open.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(listen) if listen.ip().is_unspecified() => {
            (Ipv4Addr::LOCALHOST, listen.port()).into()
        }
        SocketAddr::V6(listen) if listen.ip().is_unspecified() => {
            (Ipv6Addr::LOCALHOST, listen.port()).into()
        }
        _ => listen,
    }
}
