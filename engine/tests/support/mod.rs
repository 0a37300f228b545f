//! A scripted HTTP/2 peer on a real socket, and short ways to run a load against it.
#![allow(dead_code, reason = "every test file uses its own part")]

pub mod http;
mod listening;

use _engine::error::Error;
use _engine::extra::Extra;
use _engine::http2::frame::{self, Header};
use _engine::payload::Pool;
use _engine::plan::Plan;
use _engine::run::{LoadResult, Tick, Watcher, Wish, run};
use listening::Listening;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const MS: u64 = 1_000_000;

/// What the server saw, all connections together.
#[derive(Default)]
pub struct Seen {
    pub connections: AtomicU64,
    pub requests: AtomicU64,
    pub resets: AtomicU64,
    pub ping_acks: AtomicU64,
    pub most_streams: AtomicU64,
    pub largest_frame: AtomicU64,
    pub bodies: Mutex<Vec<Vec<u8>>>,
}

/// One connection of the server.
pub struct Session {
    socket: TcpStream,
    pub number: u64,
    pub requests: u64,
    pub seen: Arc<Seen>,
    bodies: HashMap<u32, Vec<u8>>,
}

/// Ends the connection without ceremony.
pub fn hang_up() -> io::Error {
    io::Error::other("the script hangs up")
}

pub const OK_HEAD: &[u8] = b"\x88\x00\x0ccontent-type\x10application/grpc";
pub const OK_TAIL: &[u8] = b"\x00\x0bgrpc-status\x010";

pub fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0], &(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

impl Session {
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.socket.write_all(&frame::control(kind, flags, stream, payload))
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    pub fn settings(&mut self, values: &[(u16, u32)]) -> io::Result<()> {
        self.send(frame::SETTINGS, 0, 0, &frame::settings(values))
    }

    pub fn widen(&mut self, stream: u32, by: u32) -> io::Result<()> {
        self.send(frame::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
    }

    pub fn go_away(&mut self, last: u32) -> io::Result<()> {
        self.send(frame::GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())
    }

    pub fn answer(&mut self, stream: u32) -> io::Result<()> {
        self.answer_with(stream, b"fine")
    }

    pub fn answer_with(&mut self, stream: u32, content: &[u8]) -> io::Result<()> {
        let mut frames = frame::control(frame::HEADERS, frame::END_HEADERS, stream, OK_HEAD);
        for part in message(content).chunks(16_384) {
            frames.extend(frame::control(frame::DATA, 0, stream, part));
        }
        let last = frame::END_HEADERS | frame::END_STREAM;
        frames.extend(frame::control(frame::HEADERS, last, stream, OK_TAIL));
        self.send_raw(&frames)
    }

    /// A trailers-only answer.
    pub fn refuse(&mut self, stream: u32, block: &[u8]) -> io::Result<()> {
        self.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, block)
    }

    pub fn read_frame(&mut self) -> io::Result<(Header, Vec<u8>)> {
        let mut head = [0; frame::HEADER_LEN];
        self.socket.read_exact(&mut head)?;
        let header = Header::parse(&head);
        let mut payload = vec![0; header.len];
        self.socket.read_exact(&mut payload)?;
        Ok((header, payload))
    }

    /// The next whole request, its stream id.
    fn next_request(&mut self) -> io::Result<u32> {
        loop {
            let (header, payload) = self.read_frame()?;
            self.seen.largest_frame.fetch_max(header.len as u64, Ordering::Relaxed);
            match header.kind {
                frame::HEADERS => {
                    self.bodies.insert(header.stream, Vec::new());
                    self.seen.most_streams.fetch_max(self.bodies.len() as u64, Ordering::Relaxed);
                }
                frame::DATA => {
                    let Some(body) = self.bodies.get_mut(&header.stream) else { continue };
                    body.extend_from_slice(&payload);
                    if header.len > 0 {
                        self.widen(0, header.len as u32)?;
                    }
                    if header.has(frame::END_STREAM) {
                        return Ok(header.stream);
                    }
                    if header.len > 0 {
                        self.widen(header.stream, header.len as u32)?;
                    }
                }
                frame::RST_STREAM => {
                    self.bodies.remove(&header.stream);
                    self.seen.resets.fetch_add(1, Ordering::Relaxed);
                }
                frame::SETTINGS if !header.has(frame::ACK) => self.send(frame::SETTINGS, frame::ACK, 0, &[])?,
                frame::PING if header.has(frame::ACK) => {
                    self.seen.ping_acks.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }

    fn serve(&mut self, script: &Script) -> io::Result<()> {
        let mut preface = [0; frame::PREFACE.len()];
        self.socket.read_exact(&mut preface)?;
        assert_eq!(preface, frame::PREFACE);
        (script.greet)(self)?;
        loop {
            let stream = self.next_request()?;
            self.requests += 1;
            self.seen.requests.fetch_add(1, Ordering::Relaxed);
            let body = self.bodies.remove(&stream).unwrap_or_default();
            if script.keep_bodies {
                self.seen.bodies.lock().unwrap().push(body);
            }
            (script.request)(self, stream)?;
        }
    }
}

/// What the server does with a connection, and with a request on it.
type Greet = Box<dyn Fn(&mut Session) -> io::Result<()> + Send + Sync>;
type Request = Box<dyn Fn(&mut Session, u32) -> io::Result<()> + Send + Sync>;

pub struct Script {
    greet: Greet,
    request: Request,
    keep_bodies: bool,
}

impl Script {
    /// Greets with these settings and answers every whole request through `request`.
    pub fn new(
        settings: &'static [(u16, u32)],
        request: impl Fn(&mut Session, u32) -> io::Result<()> + Send + Sync + 'static,
    ) -> Script {
        let greet = Box::new(move |session: &mut Session| session.settings(settings));
        Script { greet, request: Box::new(request), keep_bodies: false }
    }

    pub fn greeting(mut self, greet: impl Fn(&mut Session) -> io::Result<()> + Send + Sync + 'static) -> Script {
        self.greet = Box::new(greet);
        self
    }

    pub fn keeping_bodies(mut self) -> Script {
        self.keep_bodies = true;
        self
    }
}

/// The server; everything ends when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    _listening: Listening,
}

impl Server {
    pub fn start(script: Script) -> Server {
        Server::start_at("127.0.0.1:0".parse().unwrap(), script)
    }

    pub fn start_at(address: SocketAddr, script: Script) -> Server {
        let seen = Arc::<Seen>::default();
        let listening = {
            let (seen, script) = (seen.clone(), Arc::new(script));
            Listening::start(address, move |socket| {
                let number = seen.connections.fetch_add(1, Ordering::Relaxed);
                let mut session = Session { socket, number, requests: 0, seen: seen.clone(), bodies: HashMap::new() };
                let script = script.clone();
                move || drop(session.serve(&script))
            })
        };
        Server { address: listening.address, seen, _listening: listening }
    }

    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// Answers everything at once.
    pub fn instant() -> Server {
        Server::start(Script::new(&[], |session, stream| session.answer(stream)))
    }
}

/// A plan for the server: closed loop, with `changes` merged in.
pub fn plan(address: SocketAddr, concurrency: usize, changes: Value) -> Plan {
    let mut plan = json!({
        "transport": {"kind": "grpc", "endpoint": address.to_string(), "method": "/test.Service/Call", "metadata": [["x-test", "yes"]], "connections": 1},
        "schedule": {"kind": "closed", "concurrency": concurrency},
        "order": "round_robin", "seed": 0, "max_requests": null, "max_duration_ns": null, "slice_ns": 50 * MS,
        "connect_timeout_ns": 2000 * MS, "request_timeout_ns": 10_000 * MS, "drain_timeout_ns": 5000 * MS,
        "workers": 1, "pin_cpus": []
    });
    for (key, value) in changes.as_object().unwrap() {
        if key == "connections" {
            plan["transport"]["connections"] = value.clone();
        } else {
            plan[key] = value.clone();
        }
    }
    Plan::from_json(&plan.to_string()).unwrap()
}

/// Never interferes; ends the test if the run takes too long.
pub struct Deadline(pub std::time::Instant);

impl Watcher for Deadline {
    type Error = Error;

    fn wants_ticks(&self) -> bool {
        false
    }

    fn tick(&mut self, _: Tick) -> Result<Wish, Error> {
        Ok(Wish::GoOn)
    }

    fn interrupted(&mut self) -> Result<(), Error> {
        if std::time::Instant::now() < self.0 {
            return Ok(());
        }
        Err(Error::System { action: "finish in time", reason: "the run hangs".to_owned() })
    }
}

pub fn try_load(plan: &Plan, payload: Vec<u8>) -> Result<LoadResult, Error> {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    run(plan, Arc::new(Pool::new([payload])), &mut Deadline(deadline))
}

/// Run the plan and check that its books balance.
pub fn load(plan: &Plan, payload: Vec<u8>) -> LoadResult {
    let result = try_load(plan, payload).unwrap();
    assert_balanced(&result);
    result
}

pub fn assert_balanced(result: &LoadResult) {
    assert_eq!(result.sent, result.ok + result.failed.values().sum::<u64>() + result.unfinished);
    assert_eq!(result.sent, result.slices.iter().map(|s| s.sent).sum::<u64>());
    for slice in &result.slices {
        let timed = |pairs: &[(u32, u64)]| pairs.iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!((slice.ok, slice.ok), (timed(&slice.latency), timed(&slice.service)), "only successes are timed");
    }
    assert!(result.failed.keys().eq(result.examples.keys()));
}

pub fn failures(result: &LoadResult) -> Vec<(String, u64)> {
    result.failed.iter().map(|(code, count)| (code.to_string(), *count)).collect()
}

/// What the engine counts beside answers and latencies, in the whole load.
pub fn total(result: &LoadResult, of: impl Fn(&Extra) -> u64) -> u64 {
    result.slices.iter().map(|slice| of(&slice.extra)).sum()
}

pub fn sequences(count: usize, length: u64) -> Value {
    json!({"count": count, "length": length, "variation": 0.0, "first_id": 1, "id_count": 1000})
}

/// How many requests each sequence had, which begins with its start and ends with its end. `flags` reads the id, the
/// start and the end of a request as the server got it.
pub fn lengths(bodies: &Mutex<Vec<Vec<u8>>>, flags: impl Fn(&[u8]) -> (u64, bool, bool)) -> Vec<u64> {
    let (mut living, mut lengths) = (HashMap::new(), Vec::new());
    for body in bodies.lock().unwrap().iter() {
        let (id, start, end) = flags(body);
        assert_eq!(start, !living.contains_key(&id), "sequence {id}");
        let count = living.entry(id).or_insert(0);
        *count += 1;
        if end {
            lengths.extend(living.remove(&id));
        }
    }
    assert_eq!(living, HashMap::new(), "every sequence is ended");
    lengths
}
