//! gRPC over HTTP/2: the connections of one worker on one event loop.

mod link;
pub mod response;

use crate::error::{Code, Error, Failure};
use crate::http2::connection::{Connection, Event as Pulse, Manner};
use crate::kserve::{Suffix, of_sequence};
use crate::payload::Pool;
use crate::plan;
use crate::reactor::{Reactor, Ready};
use crate::requests::{Requests, Waiting};
use crate::sequences::Correlation;
use crate::tls::Tls;
use crate::transport::{Clock, Event, Traffic, Transport};
use crate::wire::{self, FIRST_BACKOFF_NS, Wire};
use link::{Heard, Link};
use mio::Token;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// Takes what arrives between two looks in one read; a frame that must be whole fits in several times.
const READ_BUFFER: usize = 256 * 1024;

/// Where to connect, how, and what every request has in common.
#[derive(Debug, Clone)]
pub struct Target {
    pub endpoint: String,
    pub addresses: Vec<SocketAddr>,
    pub tls: Option<Tls>,
    pub head: Vec<(String, String)>,
    /// The messages of the pool are compressed.
    pub compressed: bool,
    pub connections: usize,
    /// Most streams of a connection, beside what the server allows.
    pub max_streams: usize,
    pub connect_timeout_ns: u64,
    /// 1, except in tests of what happens when stream ids run out.
    pub first_stream: u32,
}

impl Target {
    /// Looks the host name up, which may block.
    pub fn resolve(
        grpc: &plan::Grpc,
        endpoint: &str,
        connections: usize,
        connect_timeout_ns: u64,
    ) -> Result<Target, Error> {
        let tls = grpc.tls.as_ref().map(|tls| Tls::new(tls, endpoint, b"h2")).transpose()?;
        Ok(Target {
            endpoint: endpoint.to_owned(),
            addresses: wire::resolve(endpoint)?,
            tls,
            head: head(grpc, endpoint),
            compressed: grpc.encoding.is_some(),
            connections,
            max_streams: if grpc.max_streams == 0 { usize::MAX } else { grpc.max_streams },
            connect_timeout_ns,
            first_stream: 1,
        })
    }
}

fn head(grpc: &plan::Grpc, endpoint: &str) -> Vec<(String, String)> {
    let fixed = [
        (":method", "POST"),
        (":scheme", if grpc.tls.is_some() { "https" } else { "http" }),
        (":path", &grpc.method),
        (":authority", endpoint),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", concat!("scenario-engine/", env!("CARGO_PKG_VERSION"))),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let encoding = grpc.encoding.map(|encoding| ("grpc-encoding", encoding.name()));
    let accept = grpc.accept.map(|encoding| ("grpc-accept-encoding", encoding.name()));
    let encoding = encoding.into_iter().chain(accept).map(|(name, value)| (name.to_owned(), value.to_owned()));
    fixed.into_iter().chain(encoding).chain(grpc.metadata.iter().cloned()).collect()
}

/// Where an open request is.
#[derive(Clone, Copy)]
struct Open {
    link: usize,
    stream: u32,
    /// How much the link had received when the request was opened.
    heard: u64,
}

/// One of the connections asked for: at most one link at a time takes new requests for it.
#[derive(Clone, Default)]
struct Seat {
    link: Option<usize>,
    retry_at: u64,
    /// Links in a row that ended without a single answer.
    failures: u32,
    address: usize,
    /// Why the last link ended.
    reason: Option<Failure>,
}

pub struct Grpc {
    target: Target,
    pool: Arc<Pool>,
    manner: Manner,
    reactor: Reactor,
    ready: Vec<Ready>,
    /// By mio token; draining ones have no seat any more.
    links: Vec<Option<Link>>,
    seats: Vec<Seat>,
    requests: Requests<Suffix, Open>,
    /// Counts calls of `poll`.
    turn: u64,
    buffer: Vec<u8>,
    pulses: Vec<Pulse>,
    /// Until the start of the run the first greetings count as reconnects, too.
    traffic: Traffic,
}

impl Grpc {
    /// Makes every connection and waits until every server has greeted; `go_on` may end the wait.
    pub fn connect(
        target: Target,
        pool: Arc<Pool>,
        clock: &impl Clock,
        go_on: impl Fn() -> bool,
    ) -> Result<Grpc, Error> {
        Grpc::connect_with(target, Manner::default(), pool, clock, go_on)
    }

    /// As `connect`, for streams or answers that are looked at.
    pub fn connect_with(
        target: Target,
        manner: Manner,
        pool: Arc<Pool>,
        clock: &impl Clock,
        go_on: impl Fn() -> bool,
    ) -> Result<Grpc, Error> {
        let mut grpc = Grpc::new(target, manner, pool).map_err(Error::system("set up the event loop"))?;
        let mut events = Vec::new();
        while !grpc.is_complete() {
            let until = clock.now() + FIRST_BACKOFF_NS;
            grpc.poll(clock, until, &mut events);
            let tries = grpc.target.addresses.len() as u32;
            let given_up = grpc.seats.iter().find(|seat| seat.failures >= tries).and_then(|seat| seat.reason.clone());
            wire::give_up(&grpc.target.endpoint, given_up, go_on())?;
        }
        grpc.traffic = Traffic::default();
        Ok(grpc)
    }

    fn new(target: Target, manner: Manner, pool: Arc<Pool>) -> io::Result<Grpc> {
        Ok(Grpc {
            pool,
            manner,
            reactor: Reactor::new()?,
            ready: Vec::new(),
            links: Vec::new(),
            seats: vec![Seat::default(); target.connections],
            requests: Requests::default(),
            turn: 0,
            buffer: vec![0; READ_BUFFER],
            pulses: Vec::new(),
            traffic: Traffic::default(),
            target,
        })
    }

    /// Retire links that take no more requests, and dial for seats without one.
    fn fill_seats(&mut self, now: u64, events: &mut Vec<Event>) {
        for seat in 0..self.seats.len() {
            if let Some(link) = self.seats[seat].link {
                if self.links[link].as_ref().is_some_and(|link| link.connection.is_draining()) {
                    self.vacate(seat, now, None);
                    self.close_if_drained(link);
                }
            }
            if self.seats[seat].link.is_none() && self.seats[seat].retry_at <= now {
                self.dial(seat, now, events);
            }
        }
    }

    fn dial(&mut self, seat: usize, now: u64, events: &mut Vec<Event>) {
        let slot = self.links.iter().position(Option::is_none).unwrap_or_else(|| {
            self.links.push(None);
            self.links.len() - 1
        });
        let addresses = &self.target.addresses;
        let address = addresses[self.seats[seat].address % addresses.len()];
        let mut connection = Connection::new(self.pool.clone(), self.target.head.clone(), self.target.first_stream);
        connection.manner = self.manner.clone();
        connection.compressed = self.target.compressed;
        connection.limit_streams(self.target.max_streams);
        let deadline = now.saturating_add(self.target.connect_timeout_ns);
        match Wire::dial(address, self.target.tls.as_ref(), self.reactor.registry(), Token(slot)) {
            Ok(wire) => {
                self.links[slot] = Some(Link::new(wire, connection, deadline));
                self.seats[seat].link = Some(slot);
            }
            Err(failure) => {
                self.fail_waiting(&failure, now, events);
                self.vacate(seat, now, Some(failure));
            }
        }
    }

    /// The seat's link takes no more requests; when to dial again depends on how useful it was.
    fn vacate(&mut self, seat: usize, now: u64, reason: Option<Failure>) {
        let seat = &mut self.seats[seat];
        let link = seat.link.take().and_then(|link| self.links[link].as_ref());
        if link.is_none_or(|link| !link.connection.is_ready()) {
            seat.address += 1;
        }
        let useful = link.is_some_and(|link| link.answered > 0);
        seat.failures = if useful { 0 } else { seat.failures + 1 };
        let asked_to_leave = useful && reason.is_none();
        seat.retry_at = if asked_to_leave { now } else { now + wire::backoff_ns(seat.failures) };
        seat.reason = reason;
    }

    fn is_complete(&self) -> bool {
        let link = |seat: &Seat| self.links[seat.link?].as_ref();
        self.seats.iter().all(|seat| link(seat).is_some_and(|link| link.connection.is_ready()))
    }

    fn seat_of(&self, link: usize) -> Option<usize> {
        self.seats.iter().position(|seat| seat.link == Some(link))
    }

    /// The link is gone: its requests fail, and those that wait too if nothing is left that they could wait for.
    fn lose(&mut self, slot: usize, failure: Failure, now: u64, events: &mut Vec<Event>) {
        if let Some(seat) = self.seat_of(slot) {
            self.vacate(seat, now, Some(failure.clone()));
        }
        let Some(mut link) = self.links[slot].take() else { return };
        link.connection.fail_all(&failure, &mut self.pulses);
        let was_ready = link.connection.is_ready();
        link.close(&self.pool, self.reactor.registry());
        self.report(slot, now, events);
        if !was_ready {
            self.fail_waiting(&failure, now, events);
        }
    }

    fn fail_waiting(&mut self, failure: &Failure, now: u64, events: &mut Vec<Event>) {
        if self.links.iter().flatten().any(|link| link.connection.has_room()) {
            return;
        }
        self.requests.fail(self.requests.waiting(), failure, now, events);
    }

    /// Pass on what the link's connection had to say.
    fn report(&mut self, slot: usize, at: u64, events: &mut Vec<Event>) {
        for pulse in self.pulses.drain(..) {
            match pulse {
                Pulse::Ready => self.traffic.reconnects += 1,
                Pulse::Done { token, outcome } => {
                    self.requests.done(token);
                    if let Some(link) = &mut self.links[slot] {
                        link.answered += 1;
                        link.forget(token);
                    }
                    events.push(Event::Done { token, at, outcome });
                }
                Pulse::First { token } => events.push(Event::First { token, at }),
                Pulse::Response { token } => events.push(Event::Response { token, at }),
                Pulse::Unprocessed { token, payload, suffix } => {
                    if let Some(link) = &mut self.links[slot] {
                        link.forget(token);
                    }
                    // A turn of its own: its first sending did not count.
                    self.requests.wait_again(Waiting { token, payload, say: suffix, turn: u64::MAX });
                }
            }
        }
    }

    /// Open as many waiting requests as the connections have room for, each on the least busy one.
    fn open_waiting(&mut self) {
        while self.requests.waiting() > 0 {
            let Some(slot) = self.least_busy() else { return };
            let Some(link) = &mut self.links[slot] else { return };
            let Some(Waiting { token, payload, say, turn }) = self.requests.take() else { return };
            let stream = link.open(token, payload, say, turn);
            self.requests.put(token, Open { link: slot, stream, heard: link.heard });
        }
    }

    #[inline]
    fn least_busy(&self) -> Option<usize> {
        let slots = self.seats.iter().filter_map(|seat| seat.link);
        let open = slots.filter_map(|slot| Some((self.links[slot].as_ref()?, slot)));
        let with_room = open.filter(|(link, _)| link.connection.has_room());
        with_room.min_by_key(|(link, _)| link.connection.in_flight()).map(|(_, slot)| slot)
    }

    fn flush(&mut self, now: u64, clock: &impl Clock, events: &mut Vec<Event>) {
        for slot in 0..self.links.len() {
            let Some(link) = &mut self.links[slot] else { continue };
            let late = |token| events.push(Event::Sent { token, at: now });
            match link.flush(&self.pool, self.turn, late) {
                Ok(written) => {
                    self.traffic.bytes_sent += written;
                    while let Some(token) = link.next_written() {
                        events.push(Event::Written { token, at: clock.now() });
                    }
                }
                Err(failure) => {
                    // Answers may have arrived before the connection broke.
                    self.read(slot, true, clock, events);
                    self.lose(slot, failure, now, events);
                }
            }
        }
    }

    fn read(&mut self, slot: usize, hung_up: bool, clock: &impl Clock, events: &mut Vec<Event>) {
        while let Some(link) = &mut self.links[slot] {
            let before = link.heard;
            let heard = link.read(&mut self.buffer, &mut self.pulses);
            self.traffic.bytes_received += link.heard - before;
            let at = clock.now();
            self.report(slot, at, events);
            match heard {
                Ok(Heard::More) => {}
                // A short read means that the socket is empty, unless the end of the stream comes right behind it.
                Ok(Heard::Enough) if hung_up && self.links[slot].as_ref().is_some_and(|l| l.heard > before) => {}
                Ok(Heard::Enough) => break,
                Err(failure) => return self.lose(slot, failure, at, events),
            }
        }
        self.close_if_drained(slot);
    }

    fn close_if_drained(&mut self, slot: usize) {
        let drained = |link: &Link| link.connection.is_draining() && link.connection.in_flight() == 0;
        if self.links[slot].as_ref().is_some_and(drained) && self.seat_of(slot).is_none() {
            if let Some(link) = self.links[slot].take() {
                link.close(&self.pool, self.reactor.registry());
            }
        }
    }

    /// Next time at which something must happen although no byte arrives.
    fn own_deadline(&self) -> u64 {
        let retry = self.seats.iter().filter(|seat| seat.link.is_none()).map(|seat| seat.retry_at);
        let greet = self.links.iter().flatten().filter(|link| !link.connection.is_ready()).map(|link| link.deadline);
        retry.chain(greet).min().unwrap_or(u64::MAX)
    }

    fn expire_greetings(&mut self, now: u64, events: &mut Vec<Event>) {
        let late = |link: &Link| !link.connection.is_ready() && link.deadline <= now;
        for slot in 0..self.links.len() {
            if self.links[slot].as_ref().is_some_and(late) {
                let seconds = self.target.connect_timeout_ns as f64 / 1e9;
                let message = format!("no HTTP/2 greeting within {seconds} s");
                self.lose(slot, Failure::new(Code::ConnectFailed, message), now, events);
            }
        }
    }
}

impl AsRawFd for Grpc {
    fn as_raw_fd(&self) -> RawFd {
        self.reactor.as_raw_fd()
    }
}

impl Transport for Grpc {
    #[inline]
    fn submit(&mut self, token: u32, payload: u32) {
        self.requests.wait(Waiting { token, payload, say: None, turn: self.turn });
    }

    #[inline]
    fn submit_in(&mut self, token: u32, payload: u32, correlation: Correlation) {
        let say = Some(of_sequence(correlation));
        self.requests.wait(Waiting { token, payload, say, turn: self.turn });
    }

    fn cancel(&mut self, token: u32) {
        let Some(Open { link: slot, stream, heard }) = self.requests.cancel(token) else { return };
        let Some(link) = &mut self.links[slot] else { return };
        link.forget(token);
        link.connection.cancel(stream);
        if link.heard == heard {
            link.suspect(stream);
        }
    }

    fn poll(&mut self, clock: &impl Clock, until: u64, events: &mut Vec<Event>) {
        let now = clock.now();
        self.fill_seats(now, events);
        self.open_waiting();
        self.flush(now, clock, events);
        self.turn += 1;
        let until = if events.is_empty() { until.min(self.own_deadline()) } else { now };
        let mut ready = std::mem::take(&mut self.ready);
        self.reactor.wait(now, until, &mut ready);
        for &Ready { slot, writable, readable, ended } in &ready {
            if writable {
                let Some(link) = &mut self.links[slot] else { continue };
                if let Err(failure) = link.became_writable() {
                    self.lose(slot, failure, clock.now(), events);
                    continue;
                }
            }
            if readable {
                self.read(slot, ended, clock, events);
            }
        }
        self.ready = ready;
        if self.own_deadline() <= now {
            self.expire_greetings(clock.now(), events);
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}
