//! Requests byte by byte, so that wrong ones can be made, too.

use crate::fake::Host;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The code word and the text of an error.
    pub fn error(&self) -> (String, String) {
        let json = self.json();
        (json["error"].as_str().unwrap().into(), json["text"].as_str().unwrap().into())
    }
}

/// A request to be made.
pub struct Request<'h> {
    host: &'h Host,
    line: String,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl<'h> Request<'h> {
    pub fn new(host: &'h Host, line: &str) -> Self {
        let headers = vec!["Connection: close".into()];
        Self { host, line: line.into(), headers, body: Vec::new() }
            .header("Host", &host.address().to_string())
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(format!("{name}: {value}"));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|header| !header.starts_with(name));
        self
    }

    pub fn token(self) -> Self {
        let value = format!("Bearer {}", self.host.secret());
        self.header("Authorization", &value)
    }

    pub fn body(self, body: &[u8]) -> Self {
        let length = body.len().to_string();
        self.header("Content-Length", &length).raw(body)
    }

    /// A body that tells its own length.
    pub fn raw(mut self, body: &[u8]) -> Self {
        self.body = body.into();
        self
    }

    pub fn call(self) -> Answer {
        let mut stream = connect(self.host);
        let head = format!("{} HTTP/1.1\r\n{}\r\n\r\n", self.line, self.headers.join("\r\n"));
        stream.write_all(head.as_bytes()).unwrap();
        // A server may refuse before it has read all.
        let _ = stream.write_all(&self.body);
        answer(&mut stream).expect("the server answers")
    }
}

pub fn get(host: &Host, target: &str) -> Answer {
    Request::new(host, &format!("GET {target}")).call()
}

/// A post with the token.
pub fn post(host: &Host, target: &str, body: &[u8]) -> Answer {
    Request::new(host, &format!("POST {target}")).token().body(body).call()
}

pub fn connect(host: &Host) -> TcpStream {
    let stream = TcpStream::connect(host.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Reads until the server closes; none if it closed without a word.
pub fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("no end came: {error}"),
        _ if bytes.is_empty() => return None,
        _ => {}
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some(Answer { status, head, body: bytes[end + 4..].to_vec() })
}
