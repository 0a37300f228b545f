//! A scripted HTTP/1.1 peer on a real socket.

use super::listening::Listening;
use super::{MS, hang_up};
use _engine::plan::Plan;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What the server saw, all connections together.
#[derive(Default)]
pub struct Seen {
    pub connections: AtomicU64,
    pub requests: AtomicU64,
    pub heads: Mutex<Vec<String>>,
    pub bodies: Mutex<Vec<Vec<u8>>>,
}

/// One connection of the server.
pub struct Session {
    pub socket: TcpStream,
    pub number: u64,
    pub requests: u64,
    pub seen: Arc<Seen>,
    rest: Vec<u8>,
}

impl Session {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 65_536];
        match self.socket.read(&mut buffer)? {
            0 => Err(hang_up()),
            count => {
                self.rest.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// The next request's head; its body is left to `body`.
    pub fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.rest.drain(..end + 4).collect();
                self.requests += 1;
                self.seen.requests.fetch_add(1, Ordering::Relaxed);
                return Ok(String::from_utf8(head).unwrap());
            }
            self.more()?;
        }
    }

    pub fn body(&mut self, head: &str) -> io::Result<Vec<u8>> {
        let length =
            head.split("Content-Length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        while self.rest.len() < length {
            self.more()?;
        }
        Ok(self.rest.drain(..length).collect())
    }
}

/// The server; everything ends when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    _listening: Listening,
}

impl Server {
    /// `serve` is called again and again for each connection until it fails.
    pub fn raw(address: &str, serve: impl Fn(&mut Session) -> io::Result<()> + Send + Sync + 'static) -> Server {
        let seen = Arc::<Seen>::default();
        let listening = {
            let (seen, serve) = (seen.clone(), Arc::new(serve));
            Listening::start(address, move |socket| {
                let number = seen.connections.fetch_add(1, Ordering::Relaxed);
                let mut session = Session { socket, number, requests: 0, seen: seen.clone(), rest: Vec::new() };
                let serve = serve.clone();
                move || while serve(&mut session).is_ok() {}
            })
        };
        Server { address: listening.address, seen, _listening: listening }
    }

    /// Reads whole requests and answers them through `answer`.
    pub fn start(answer: impl Fn(&mut Session) -> io::Result<()> + Send + Sync + 'static) -> Server {
        Server::raw("127.0.0.1:0", move |session| {
            let head = session.head()?;
            let body = session.body(&head)?;
            session.seen.heads.lock().unwrap().push(head);
            session.seen.bodies.lock().unwrap().push(body);
            answer(session)
        })
    }

    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }
}

pub fn plan(address: SocketAddr, concurrency: usize, changes: Value) -> Plan {
    let mut plan = json!({
        "transport": {"kind": "http", "endpoint": address.to_string(), "method": "POST", "path": "/v2/x", "headers": [["X-Test", "yes"]]},
        "schedule": {"kind": "closed", "concurrency": concurrency},
        "order": "round_robin", "seed": 0, "max_requests": null, "max_duration_ns": null, "slice_ns": 50 * MS,
        "connect_timeout_ns": 2000 * MS, "request_timeout_ns": 10_000 * MS, "drain_timeout_ns": 5000 * MS,
        "workers": 1, "pin_cpus": []
    });
    for (key, value) in changes.as_object().unwrap() {
        if let Some(inner) = key.strip_prefix("transport.") {
            plan["transport"][inner] = value.clone();
        } else {
            plan[key] = value.clone();
        }
    }
    Plan::from_json(&plan.to_string()).unwrap()
}

pub fn payload(body: &[u8]) -> Vec<u8> {
    [format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}
