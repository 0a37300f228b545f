//! HTTP/1.1: the connections of one worker on one event loop, one request at a time on each.

mod link;
mod payloads;
pub mod response;

use crate::check::{Checker, Sampler};
use crate::error::{Code, Error, Failure};
use crate::payload::Pool;
use crate::plan;
use crate::reactor::{Reactor, Ready};
use crate::requests::{Requests, Waiting};
use crate::sequences::Correlation;
use crate::tls::Tls;
use crate::transport::{Clock, Event, Traffic, Transport};
use crate::wire::{self, FIRST_BACKOFF_NS, Wire};
use link::{Exchange, Flushed, Heard, Link, Patch};
use mio::Token;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

const READ_BUFFER: usize = 256 * 1024;

/// Where to connect, how, and what every request has in common.
#[derive(Debug, Clone)]
pub struct Target {
    pub endpoint: String,
    pub addresses: Vec<SocketAddr>,
    pub tls: Option<Tls>,
    /// Request line and common headers; the payload goes on from there.
    pub head: Vec<u8>,
    /// The method is HEAD: answers have no body.
    pub bodiless: bool,
    /// Most connections at a time.
    pub connections: usize,
    /// Connections made before the run begins.
    pub initial: usize,
    pub connect_timeout_ns: u64,
    /// Requests belong to sequences.
    pub sequences: bool,
}

impl Target {
    /// Looks the host name up, which may block; `initial` connections are made before the run begins.
    pub fn resolve(
        http: &plan::Http,
        endpoint: &str,
        initial: usize,
        connect_timeout_ns: u64,
        sequences: bool,
    ) -> Result<Target, Error> {
        let tls = http.tls.as_ref().map(|tls| Tls::new(tls, endpoint, b"http/1.1")).transpose()?;
        let connections = if http.connections == 0 { usize::MAX } else { http.connections };
        Ok(Target {
            addresses: wire::resolve(endpoint)?,
            endpoint: endpoint.to_owned(),
            tls,
            head: head(http, endpoint),
            bodiless: http.method == "HEAD",
            connections,
            initial: initial.min(connections).max(1),
            connect_timeout_ns,
            sequences,
        })
    }
}

fn head(http: &plan::Http, endpoint: &str) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", http.method, http.path);
    if !http.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head += &format!("Host: {endpoint}\r\n");
    }
    head += concat!("User-Agent: scenario-engine/", env!("CARGO_PKG_VERSION"), "\r\n");
    for (name, value) in &http.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head.into_bytes()
}

pub struct Http {
    target: Target,
    pool: Arc<Pool>,
    /// Of each payload, where a request says of which sequence it is; none without sequences.
    rooms: Vec<usize>,
    checker: Option<Arc<Checker>>,
    sampler: Sampler,
    reactor: Reactor,
    ready: Vec<Ready>,
    /// By mio token.
    links: Vec<Option<Link>>,
    vacant: Vec<usize>,
    idle: Vec<usize>,
    /// With something to write.
    dirty: Vec<usize>,
    connecting: Vec<usize>,
    /// On a connection: which one.
    requests: Requests<Option<Correlation>, usize>,
    /// Counts calls of `poll`.
    turn: u64,
    retry_at: u64,
    /// Attempts in a row that ended without an answer; connections of one attempt count once.
    failures: u32,
    attempt: u64,
    address: usize,
    reason: Option<Failure>,
    /// Connections that ended and were not replaced yet.
    gone: u64,
    buffer: Vec<u8>,
    traffic: Traffic,
}

impl Http {
    /// Makes the first connections and waits until all are open; `go_on` may end the wait.
    pub fn connect(
        target: Target,
        pool: Arc<Pool>,
        clock: &impl Clock,
        go_on: impl Fn() -> bool,
    ) -> Result<Http, Error> {
        Http::connect_with(target, None, pool, clock, go_on)
    }

    /// As `connect`, with answers that are looked at.
    pub fn connect_with(
        target: Target,
        checker: Option<Arc<Checker>>,
        pool: Arc<Pool>,
        clock: &impl Clock,
        go_on: impl Fn() -> bool,
    ) -> Result<Http, Error> {
        payloads::check(&pool)?;
        let rooms = if target.sequences { payloads::rooms(&pool)? } else { Vec::new() };
        let mut http = Http::new(target, rooms, checker, pool).map_err(Error::system("set up the event loop"))?;
        let mut events = Vec::new();
        let tries = http.target.addresses.len() as u32;
        while http.idle.len() < http.target.initial {
            let now = clock.now();
            while http.retry_at <= now && http.open() < http.target.initial && http.failures < tries {
                http.dial(now, &mut events);
            }
            http.poll(clock, now + FIRST_BACKOFF_NS, &mut events);
            let given_up = if http.failures >= tries { http.reason.clone() } else { None };
            wire::give_up(&http.target.endpoint, given_up, go_on())?;
        }
        http.traffic = Traffic::default();
        http.gone = 0;
        Ok(http)
    }

    fn new(target: Target, rooms: Vec<usize>, checker: Option<Arc<Checker>>, pool: Arc<Pool>) -> io::Result<Http> {
        Ok(Http {
            target,
            pool,
            rooms,
            checker,
            sampler: Sampler::default(),
            reactor: Reactor::new()?,
            ready: Vec::new(),
            links: Vec::new(),
            vacant: Vec::new(),
            idle: Vec::new(),
            dirty: Vec::new(),
            connecting: Vec::new(),
            requests: Requests::default(),
            turn: 0,
            retry_at: 0,
            failures: 0,
            attempt: 0,
            address: 0,
            reason: None,
            gone: 0,
            buffer: vec![0; READ_BUFFER],
            traffic: Traffic::default(),
        })
    }

    /// Connections, those being made included.
    fn open(&self) -> usize {
        self.links.len() - self.vacant.len()
    }

    /// As many more connections as there are requests without one.
    fn dial_for_waiting(&mut self, now: u64, events: &mut Vec<Event>) {
        let wanted = self.requests.waiting().saturating_sub(self.idle.len() + self.connecting.len());
        for _ in 0..wanted {
            if self.retry_at > now || self.open() >= self.target.connections {
                return;
            }
            self.dial(now, events);
        }
    }

    fn dial(&mut self, now: u64, events: &mut Vec<Event>) {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        let address = self.target.addresses[self.address % self.target.addresses.len()];
        match Wire::dial(address, self.target.tls.as_ref(), self.reactor.registry(), Token(slot)) {
            Ok(wire) => {
                let deadline = now.saturating_add(self.target.connect_timeout_ns);
                self.links[slot] = Some(Link::new(wire, deadline, self.attempt, self.target.bodiless));
                self.connecting.push(slot);
            }
            Err(failure) => {
                self.vacant.push(slot);
                self.address += 1;
                self.failed(self.attempt, &failure, now);
                self.requests.fail(1, &failure, now, events);
            }
        }
    }

    /// A connection was of no use: make the next ones later, and later each time.
    fn failed(&mut self, attempt: u64, failure: &Failure, now: u64) {
        self.reason = Some(failure.clone());
        if attempt == self.attempt {
            self.attempt += 1;
            self.failures += 1;
            self.retry_at = now + wire::backoff_ns(self.failures);
        }
    }

    /// Take the connection out of every list.
    fn close(&mut self, slot: usize) -> Option<Link> {
        let mut link = self.links[slot].take()?;
        link.wire.deregister(self.reactor.registry());
        self.vacant.push(slot);
        self.gone += 1;
        if link.exchange.is_none() {
            self.idle.retain(|&idle| idle != slot);
            self.connecting.retain(|&connecting| connecting != slot);
        }
        Some(link)
    }

    /// The connection broke: its request fails, or the one that it was made for.
    fn lose(&mut self, slot: usize, failure: Failure, at: u64, events: &mut Vec<Event>) {
        let Some(mut link) = self.close(slot) else { return };
        if let Some(exchange) = link.exchange.take() {
            self.requests.done(exchange.token);
            events.push(Event::Done { token: exchange.token, at, outcome: Err(failure.clone()) });
        } else if !link.wire.is_open() {
            self.address += 1;
            if self.requests.waiting() > self.connecting.len() {
                self.requests.fail(1, &failure, at, events);
            }
        }
        if link.answered == 0 {
            self.failed(link.attempt, &failure, at);
        }
    }

    /// Give waiting requests to idle connections.
    fn open_waiting(&mut self) {
        while self.requests.waiting() > 0 {
            let Some(slot) = self.idle.pop() else { return };
            let Some(waiting) = self.requests.take() else { return };
            let Some(link) = &mut self.links[slot] else { continue };
            let (head, payload) = (&self.target.head, waiting.payload);
            let patch = |correlation| Patch { at: self.rooms[payload as usize], correlation };
            let exchange = Exchange::new(waiting.token, waiting.turn);
            link.open(exchange, head, &self.pool, payload, waiting.say.map(patch));
            if self.checker.as_ref().is_some_and(|checker| self.sampler.is_next(checker)) {
                link.sample(payload);
            }
            self.requests.put(waiting.token, slot);
            self.dirty.push(slot);
        }
    }

    fn flush(&mut self, now: u64, clock: &impl Clock, events: &mut Vec<Event>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for slot in dirty.drain(..) {
            let Some(link) = &mut self.links[slot] else { continue };
            match link.flush(&self.pool, self.turn) {
                Ok(Flushed { bytes, late, written }) => {
                    self.traffic.bytes_sent += bytes;
                    events.extend(late.map(|token| Event::Sent { token, at: now }));
                    events.extend(written.map(|token| Event::Written { token, at: clock.now() }));
                }
                Err(failure) => {
                    // The answer may have arrived before the connection broke.
                    self.read(slot, true, clock, events);
                    self.lose(slot, failure, now, events);
                }
            }
        }
        self.dirty = dirty;
    }

    fn read(&mut self, slot: usize, hung_up: bool, clock: &impl Clock, events: &mut Vec<Event>) {
        while let Some(link) = &mut self.links[slot] {
            let heard = match link.read(&mut self.buffer) {
                Ok(heard) => heard,
                Err(failure) => return self.lose(slot, failure, clock.now(), events),
            };
            // A short read means that the socket is empty, unless the end of the stream comes right behind it.
            let more = |count: usize| hung_up || link.wire.is_encrypted() || count == READ_BUFFER;
            let go_on = match heard {
                Heard::Nothing => false,
                Heard::Bytes(count) => {
                    self.traffic.bytes_received += count as u64;
                    more(count)
                }
                Heard::First(count, token) => {
                    self.traffic.bytes_received += count as u64;
                    events.push(Event::First { token, at: clock.now() });
                    more(count)
                }
                Heard::Answer(count, outcome) => {
                    self.traffic.bytes_received += count as u64;
                    let go_on = more(count);
                    self.answered(slot, outcome, clock.now(), events);
                    go_on
                }
                Heard::LastAnswer(outcome) => {
                    self.answered(slot, outcome, clock.now(), events);
                    false
                }
            };
            if !go_on {
                return;
            }
        }
    }

    fn answered(&mut self, slot: usize, mut outcome: Result<(), Failure>, at: u64, events: &mut Vec<Event>) {
        let Some(link) = &mut self.links[slot] else { return };
        if let Some(checker) = &self.checker {
            outcome = link.checked(outcome, checker);
        }
        if let Some(exchange) = &link.exchange {
            let token = exchange.token;
            self.requests.done(token);
            events.push(Event::Done { token, at, outcome });
        }
        self.failures = 0;
        if link.finish() {
            self.idle.push(slot);
        } else {
            self.close(slot);
        }
    }

    /// Those that are open now can be used.
    fn welcome(&mut self) {
        let mut at = 0;
        while let Some(&slot) = self.connecting.get(at) {
            if self.links[slot].as_ref().is_some_and(|link| link.wire.is_open()) {
                self.connecting.swap_remove(at);
                self.idle.push(slot);
                if self.gone > 0 {
                    self.gone -= 1;
                    self.traffic.reconnects += 1;
                }
            } else {
                at += 1;
            }
        }
    }

    /// Next time at which something must happen although no byte arrives.
    fn own_deadline(&self, now: u64) -> u64 {
        // A retry that was due already waits for a free connection, not for the time.
        let retry = Some(self.retry_at).filter(|&at| at > now && self.requests.waiting() > 0);
        let connect = self.connecting.iter().filter_map(|&slot| self.links[slot].as_ref()).map(|link| link.deadline);
        connect.chain(retry).min().unwrap_or(u64::MAX)
    }

    fn expire_connecting(&mut self, now: u64, events: &mut Vec<Event>) {
        for slot in self.connecting.clone() {
            if self.links[slot].as_ref().is_some_and(|link| link.deadline <= now) {
                let seconds = self.target.connect_timeout_ns as f64 / 1e9;
                let failure = Failure::new(Code::ConnectFailed, format!("no connection within {seconds} s"));
                self.lose(slot, failure, now, events);
            }
        }
    }
}

impl AsRawFd for Http {
    fn as_raw_fd(&self) -> RawFd {
        self.reactor.as_raw_fd()
    }
}

impl Transport for Http {
    #[inline]
    fn submit(&mut self, token: u32, payload: u32) {
        self.requests.wait(Waiting { token, payload, say: None, turn: self.turn });
    }

    #[inline]
    fn submit_in(&mut self, token: u32, payload: u32, correlation: Correlation) {
        self.requests.wait(Waiting { token, payload, say: Some(correlation), turn: self.turn });
    }

    fn cancel(&mut self, token: u32) {
        if let Some(slot) = self.requests.cancel(token) {
            // The answer may still come: nothing else can use this connection.
            drop(self.close(slot));
        }
    }

    fn poll(&mut self, clock: &impl Clock, until: u64, events: &mut Vec<Event>) {
        let now = clock.now();
        if self.requests.waiting() > 0 {
            self.dial_for_waiting(now, events);
            self.open_waiting();
        }
        self.flush(now, clock, events);
        self.turn += 1;
        let until = if events.is_empty() { until.min(self.own_deadline(now)) } else { now };
        let mut ready = std::mem::take(&mut self.ready);
        self.reactor.wait(now, until, &mut ready);
        for &Ready { slot, writable, readable, ended } in &ready {
            if writable {
                let Some(link) = &mut self.links[slot] else { continue };
                match link.became_writable() {
                    Ok(has_more) if has_more => self.dirty.push(slot),
                    Ok(_) => {}
                    Err(failure) => {
                        self.lose(slot, failure, clock.now(), events);
                        continue;
                    }
                }
            }
            if readable {
                self.read(slot, ended, clock, events);
            }
        }
        self.ready = ready;
        if !self.connecting.is_empty() {
            self.welcome();
            self.expire_connecting(clock.now(), events);
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}
