//! A gateway with a fake host, and a client that speaks bytes. Every wait is bounded.

use crate::{
    Http, Settings,
    host::{Answer, Host, Reply},
    server,
};
use bytes::Bytes;
use mycelia_http_message::{Request, Response};
use mycelia_plugin::{Error, ErrorCode, Handled, Level, Result, Subsystem};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    task::{Context, Poll, ready},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers by what the path asks for.
struct Fake;

impl Host for Fake {
    async fn ask_body(&self, to: &str, body: Bytes, within: Option<Duration>) -> Result<Answer> {
        let words: Vec<&str> = to.trim_start_matches("test://").split('/').collect();
        if let ["parts", count, end] = words[..] {
            return Ok(parts(count.parse().unwrap(), end));
        }
        let (body, is_json) = match words[..] {
            ["echo"] => (body.to_vec(), false),
            ["json"] => (br#"{"n":1}"#.to_vec(), true),
            ["none"] => (b"null".to_vec(), true),
            ["big"] => (vec![b'x'; 32 << 20], false),
            ["pass", "127.0.0.1"] => (Vec::new(), false),
            ["path", ..] => (to.into(), false),
            ["within"] => (format!("{within:?}").into(), false),
            ["slow", millis] => {
                tokio::time::sleep(Duration::from_millis(millis.parse().unwrap())).await;
                (b"late".to_vec(), false)
            }
            ["fail", word] => return Err(failure(word, Handled::Yes)),
            ["refuse", word] => return Err(failure(word, Handled::No)),
            _ => {
                return Err(
                    Error::new(ErrorCode::NoRoute, format!("no route {to}")).handled(Handled::No)
                );
            }
        };
        Ok(Answer::Whole(Reply { body, is_json }))
    }

    async fn ask_request(
        &self,
        _: &str,
        request: Request,
        _: Option<Duration>,
    ) -> Result<Response> {
        let status = request.query.parse().unwrap_or(201);
        Ok(Response::new(status).header("x-made", "by hand").body(format!("{request:?}")))
    }

    fn log(&self, _: Level, _: std::fmt::Arguments<'_>) {}
}

/// So many parts, each a little after the one before, then the end, an error, or nothing at all.
fn parts(count: u64, end: &str) -> Answer {
    let part = |number: u64| Reply { body: format!("{{\"n\":{number}}}").into(), is_json: true };
    let (mut next, end) = (1, end.to_owned());
    let mut pause = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
    let rest = move |context: &mut Context<'_>| {
        ready!(pause.as_mut().poll(context));
        pause.set(tokio::time::sleep(Duration::from_millis(1)));
        next += 1;
        Poll::Ready(match &*end {
            _ if next <= count => Some(Ok(part(next))),
            "end" => None,
            "never" => return Poll::Pending,
            word => Some(Err(failure(word, Handled::Yes))),
        })
    };
    Answer::Parts((count > 0).then(|| part(1)), Box::new(rest))
}

fn failure(word: &str, handled: Handled) -> Error {
    let code = ErrorCode::ALL.iter().find(|code| code.word() == word).unwrap();
    Error::new(*code, "on request").handled(handled)
}

const MAP: &str = r#"
    (method: "GET", path: "/json", to: "test://json"),
    (method: "PUT", path: "/none", to: "test://none"),
    (method: "POST", path: "/echo", to: "test://echo"),
    (method: "GET", path: "/big", to: "test://big"),
    (method: "GET", path: "/path/{*rest}", to: "test://path/{rest}"),
    (method: "GET", path: "/within", to: "test://within", within: "1500ms"),
    (method: "GET", path: "/slow/{millis}", to: "test://slow/{millis}"),
    (method: "GET", path: "/fail/{word}", to: "test://fail/{word}"),
    (method: "GET", path: "/refuse/{word}", to: "test://refuse/{word}"),
    (method: "GET", path: "/parts/{count}/{end}", to: "test://parts/{count}/{end}"),
    (method: "GET", path: "/events/{count}/{end}", to: "test://parts/{count}/{end}", reply: Events),
    (method: "POST", path: "/passed", to: "test://echo", guard: "test://pass/{client}"),
    (method: "POST", path: "/guarded/{word}", to: "test://echo", guard: "test://fail/{word}"),
    (method: "POST", path: "/unguarded", to: "test://echo", guard: "test://nothing"),
    (method: "POST", path: "/whole/{*path}", to: "test://whole", pass: Request),
"#;

pub struct Gateway {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Gateway {
    /// With these further words of config.
    pub fn new(words: &str) -> Self {
        let config = format!("(listen: \"127.0.0.1:0\", map: [{MAP}], {words})");
        let options = ron::Options::default()
            .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
        let plan = Http::create(options.from_str::<Settings>(&config).unwrap()).unwrap().plan;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            server::run(listener, plan, Fake, async {
                let _ = stopped.await;
            })
        });
        Gateway { address, stop: Some(stop), thread: Some(thread) }
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, unread: Vec::new() }
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: &str) -> Got {
        let mut client = self.connect();
        client.send(request);
        client.got()
    }

    pub fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// How long the server took to end.
    pub fn join(&mut self) -> Duration {
        let since = Instant::now();
        let thread = self.thread.take().unwrap();
        while !thread.is_finished() {
            assert!(since.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().unwrap().unwrap();
        since.elapsed()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if self.stop.is_some() && !std::thread::panicking() {
            self.begin_stop();
            self.join();
        }
    }
}

pub struct Client {
    pub stream: TcpStream,
    unread: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn error(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(self.header("content-type"), Some("application/json"));
        body["error"].as_str().unwrap().to_owned()
    }
}

impl Client {
    /// Text with `\n` for the ends of lines of a head.
    pub fn send(&mut self, request: &str) {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        self.send_bytes(format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n")).as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn got(&mut self) -> Got {
        self.got_for("GET")
    }

    pub fn got_for(&mut self, method: &str) -> Got {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.read() > 0,
                "closed within a head: {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut got = Got { status, head, body: Vec::new() };
        if got.header("transfer-encoding") == Some("chunked") {
            got.body = self.chunks();
            return got;
        }
        let length = match got.header("content-length") {
            Some(length) if method != "HEAD" => length.parse().unwrap(),
            _ => 0,
        };
        while self.unread.len() < length {
            assert!(self.read() > 0, "closed within a body");
        }
        got.body = self.unread.drain(..length).collect();
        got
    }

    /// The chunks up to the last one, or up to where the server cut them off.
    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = self.unread.windows(2).position(|window| window == b"\r\n") {
                    break String::from_utf8(self.unread.drain(..at + 2).collect()).unwrap();
                }
                if self.read() == 0 {
                    body.extend(b"<cut>");
                    return body;
                }
            };
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            while self.unread.len() < length + 2 {
                assert!(self.read() > 0, "closed within a chunk");
            }
            body.extend(self.unread.drain(..length + 2).take(length));
            if length == 0 {
                return body;
            }
        }
    }

    fn read(&mut self) -> usize {
        let mut piece = [0; 16 << 10];
        let length = self.stream.read(&mut piece).unwrap();
        self.unread.extend(&piece[..length]);
        length
    }

    /// Waits until the other side closes; how long it took. Whatever it still sends is thrown away.
    pub fn closed(&mut self) -> Duration {
        let since = Instant::now();
        let mut piece = [0; 64 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return since.elapsed(),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return since.elapsed();
                }
                Err(error) => panic!("not closed: {error}"),
            }
        }
    }

    pub fn end_writing(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}
