//! One connection: its requests one after the other, under its timeouts.
//!
//! hyper's own header timeout runs between requests too, and nothing in it ends a client that reads no answer, so the
//! timeouts are kept here, from what the socket and the requests do.

use crate::{
    config::Limits,
    exchange::{Exchanged, Gateway},
    host::Host,
    respond::Response,
};
use http::{HeaderValue, header::CONNECTION};
use hyper::{
    body::Incoming,
    server::conn::http1::{self, Parts},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::watch,
    task::yield_now,
    time::{Instant, Sleep, sleep_until, timeout},
};

/// How long after its start a connection is expected to bring its first request when the gateway closes: a client has made it
/// for one, and a lost packet is sent again after 200 ms and more.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// How long a client that sent more than was read has to take its answer: closing at once would reset the connection, and
/// the answer would be lost.
const LINGER: Duration = Duration::from_secs(1);
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 78\r\n\
retry-after: 1\r\nconnection: close\r\n\r\n\
{\"error\":\"busy\",\"text\":\"the gateway has as many connections as it is to have\"}";

/// Serves a connection until it ends, or soon after `closing` turns true.
pub(crate) async fn serve<H: Host>(
    gateway: Rc<Gateway<H>>,
    stream: TcpStream,
    client: SocketAddr,
    mut closing: watch::Receiver<bool>,
) {
    // Without it small answers may wait for acknowledgements; where it cannot be set they do.
    let _ = stream.set_nodelay(true);
    let limits = gateway.plan.limits;
    let activity = Rc::new(Activity::new(&limits));
    let watched = Watched { stream, activity: activity.clone() };
    let shared = activity.clone();
    let service =
        service_fn(move |request| exchange(gateway.clone(), shared.clone(), request, client));
    let mut connection = http1::Builder::new()
        .max_buf_size(limits.header)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(watched), service);
    let mut closing = pin!(closing.wait_for(|closing| *closing));
    let mut alarm = pin!(sleep_until(Instant::now()));
    let mut serving = poll_fn(|context| {
        if !activity.is_closing() && closing.as_mut().poll(context).is_ready() {
            activity.close_soon();
        }
        match connection.poll_without_shutdown(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => {
                poll_alarm(alarm.as_mut(), activity.deadline(), context).map(|()| None)
            }
        }
    });
    let mut ended = (&mut serving).await;
    if ended.is_none() && activity.is_closing() {
        // A request may have come that the runtime has not yet seen; closing now would reset it.
        yield_now().await;
        ended = serving.await;
    }
    let is_broken = matches!(ended, Some(Err(error)) if error.is_parse());
    let Parts { io, read_buf, .. } = connection.into_parts();
    let stream = io.into_inner().stream;
    if activity.is_cut.get() || is_broken || !read_buf.is_empty() || has_more(&stream) {
        linger(stream).await;
    }
}

fn has_more(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Ok(1..))
}

type Exchange = Pin<Box<dyn Future<Output = Result<Response, Infallible>>>>;

fn exchange<H: Host>(
    gateway: Rc<Gateway<H>>,
    activity: Rc<Activity>,
    request: http::Request<Incoming>,
    client: SocketAddr,
) -> Exchange {
    Box::pin(async move {
        activity.request_begins();
        let Exchanged { mut response, is_cut } = gateway.exchange(request, client).await;
        if response.body().is_whole() {
            activity.request_ends(is_cut);
        } else {
            response.body_mut().guard =
                Some(Box::new(Writing { activity: activity.clone(), is_cut }));
        }
        if is_cut || activity.is_closing() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    })
}

/// A response that is written part by part: its request ends with it.
struct Writing {
    activity: Rc<Activity>,
    is_cut: bool,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.activity.request_ends(self.is_cut);
    }
}

fn poll_alarm(
    mut alarm: Pin<&mut Sleep>,
    deadline: Option<Instant>,
    context: &mut Context<'_>,
) -> Poll<()> {
    let Some(deadline) = deadline else { return Poll::Pending };
    if alarm.deadline() != deadline {
        alarm.as_mut().reset(deadline);
    }
    alarm.poll(context)
}

/// Answers a connection that is one too many.
pub(crate) async fn refuse(mut stream: TcpStream) {
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(REFUSAL)).await {
        linger(stream).await;
    }
}

/// Reads what a client still sends, until it has taken its answer and closes.
async fn linger(mut stream: TcpStream) {
    let drained = async {
        stream.shutdown().await?;
        let mut scrap = vec![0; 16 << 10];
        while stream.read(&mut scrap).await? > 0 {}
        io::Result::Ok(())
    };
    // The connection ends here, however it does.
    let _ = timeout(LINGER, drained).await;
}

/// Where a connection stands, and since when.
struct Activity {
    phase: Cell<Phase>,
    since: Cell<Instant>,
    /// Since when the client has taken no byte of what waits for it.
    stalled: Cell<Option<Instant>>,
    /// Since when the gateway wants to stop.
    closing: Cell<Option<Instant>>,
    is_cut: Cell<bool>,
    header_timeout: Duration,
    idle_timeout: Duration,
    linger: Duration,
}

#[derive(Copy, Clone, PartialEq)]
enum Phase {
    /// Nothing was received yet.
    Fresh,
    /// The head of a request comes in.
    Head,
    /// A request is handled. Its body and its answer have limits of their own.
    Busy,
    /// Between requests; maybe the last answer is still being written.
    Idle,
}

impl Activity {
    fn new(limits: &Limits) -> Self {
        Activity {
            phase: Cell::new(Phase::Fresh),
            since: Cell::new(Instant::now()),
            stalled: Cell::default(),
            closing: Cell::default(),
            is_cut: Cell::default(),
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            linger: limits.linger,
        }
    }

    /// When the connection is to be closed as things stand.
    fn deadline(&self) -> Option<Instant> {
        let since = self.since.get();
        let of_phase = match self.phase.get() {
            Phase::Fresh | Phase::Head => Some(since + self.header_timeout),
            Phase::Busy => None,
            Phase::Idle => Some(since + self.idle_timeout),
        };
        let of_closing = self.closing.get().and_then(|closing| match self.phase.get() {
            Phase::Fresh => Some((closing + self.linger).max(since + FIRST_REQUEST)),
            Phase::Idle => Some(closing.max(since) + self.linger),
            Phase::Head | Phase::Busy => None,
        });
        let of_stall = self.stalled.get().map(|stalled| stalled + self.idle_timeout);
        [of_phase, of_closing, of_stall].into_iter().flatten().min()
    }

    fn is_closing(&self) -> bool {
        self.closing.get().is_some()
    }

    fn close_soon(&self) {
        self.closing.set(Some(Instant::now()));
    }

    fn request_begins(&self) {
        self.phase.set(Phase::Busy);
    }

    fn request_ends(&self, is_cut: bool) {
        self.is_cut.set(is_cut);
        self.phase.set(Phase::Idle);
        self.since.set(Instant::now());
    }

    fn received(&self) {
        match self.phase.get() {
            // The time of a first head counts from the connection's start.
            Phase::Fresh => self.phase.set(Phase::Head),
            Phase::Idle => {
                self.phase.set(Phase::Head);
                self.since.set(Instant::now());
            }
            Phase::Head | Phase::Busy => {}
        }
    }

    fn wrote(&self, is_pending: bool) {
        if is_pending {
            self.stalled.set(self.stalled.get().or_else(|| Some(Instant::now())));
            return;
        }
        self.stalled.set(None);
        if self.phase.get() == Phase::Idle {
            self.since.set(Instant::now());
        }
    }
}

/// A socket that tells what passes through it.
struct Watched {
    stream: TcpStream,
    activity: Rc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(super::REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
