//! What one would use instead, between processes: NATS on loopback, one connection that publishes and subscribes.
//!
//! Its text protocol is spoken directly; a burst is one write, which is the most that pipelining gives.

use crate::{
    BURST,
    harness::{Run, timed},
};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A server that ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both do nothing to one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How long the server may take to listen, and to deliver a burst.
const PATIENCE: Duration = Duration::from_secs(5);
const BODY: [u8; 64] = [b'x'; 64];

pub fn publish() -> Result<Run, String> {
    let (server, mut stream) = start().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "`nats-server` is not installed".into(),
        _ => format!("nats-server: {error}"),
    })?;
    let mut reader = BufReader::new(stream.try_clone().map_err(|error| error.to_string())?);
    let publication = [b"PUB t 64\r\n", &BODY[..], b"\r\n"].concat();
    let burst = publication.repeat(BURST as usize);
    Ok(timed(move |bursts| {
        let _runs = &server;
        for _ in 0..bursts {
            stream.write_all(&burst).expect("the server takes it");
            receive(&mut reader, &mut stream).expect("every message is received");
        }
    }))
}

fn start() -> io::Result<(Server, TcpStream)> {
    // Free again when the server binds it.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &address.port().to_string()]);
    let server = Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let until = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nSUB t 1\r\n")?;
    Ok((server, stream))
}

/// Takes a burst, and answers what the server asks meanwhile.
fn receive(reader: &mut BufReader<TcpStream>, stream: &mut TcpStream) -> io::Result<()> {
    let (mut line, mut left) = (String::new(), BURST);
    let mut body = [0; BODY.len() + 2];
    while left > 0 {
        line.clear();
        reader.read_line(&mut line)?;
        match line.split(' ').next().unwrap_or_default().trim_end() {
            "MSG" => {
                reader.read_exact(&mut body)?;
                left -= 1;
            }
            "PING" => stream.write_all(b"PONG\r\n")?,
            "INFO" => {}
            _ => return Err(io::Error::other(format!("nats-server said {line:?}"))),
        }
    }
    Ok(())
}
