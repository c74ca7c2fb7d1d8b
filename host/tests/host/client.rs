//! A small HTTP/1.1 client that shows what is on the wire.

use crate::support::PATIENCE;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

/// One connection, kept alive.
pub struct Client {
    stream: TcpStream,
    /// Received, from `at` on not yet looked at.
    received: Vec<u8>,
    at: usize,
}

/// A response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, received: Vec::new(), at: 0 }
    }

    /// Asks and waits for the answer.
    pub fn exchange(&mut self, method: &str, path: &str, body: &str) -> Response {
        self.write(request(method, path, body).as_bytes());
        self.read().unwrap_or_else(|| panic!("{method} {path}: the connection was closed"))
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Writes what a server that has heard enough may refuse to read.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next response, or `None` if the server closed the connection instead.
    pub fn read(&mut self) -> Option<Response> {
        let head = loop {
            let rest = &self.received[self.at..];
            if let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8(rest[..end + 2].to_vec()).unwrap();
            }
            self.receive()?;
        };
        let (start, length) = (self.at + head.len() + 2, content_length(&head));
        while self.received.len() < start + length {
            self.receive()?;
        }
        self.at = start + length;
        let body = self.received[start..self.at].to_vec();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Response { status, head: head.to_lowercase(), body })
    }

    /// What comes up to the end of this text, as it is on the wire.
    pub fn read_through(&mut self, end: &str) -> String {
        loop {
            let rest = &self.received[self.at..];
            let found = rest.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(start) = found {
                let text = String::from_utf8(rest[..start + end.len()].to_vec()).unwrap();
                self.at += text.len();
                return text;
            }
            self.receive().unwrap_or_else(|| panic!("the connection was closed before `{end}`"));
        }
    }

    fn receive(&mut self) -> Option<()> {
        self.received.drain(..std::mem::take(&mut self.at));
        let mut chunk = [0; 16 << 10];
        // A reset is an end as well: the server answered before it had read everything.
        let length = self.stream.read(&mut chunk).ok().filter(|length| *length > 0)?;
        self.received.extend_from_slice(&chunk[..length]);
        Some(())
    }
}

/// A request as it goes over the wire.
pub fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn content_length(head: &str) -> usize {
    let lower = head.to_lowercase();
    let line = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.map_or(0, |length| length.trim().parse().unwrap())
}
