//! One HTTP/1.1 connection and the request that is on it.

use super::response::Response;
use crate::check::{Checker, Sample};
use crate::error::{Code, Failure};
use crate::http2::outbox::{LARGE, Outbox};
use crate::kserve::json;
use crate::payload::Pool;
use crate::sequences::Correlation;
use crate::wire::Wire;
use std::io::{ErrorKind, Read};

/// A request that was given to this connection.
pub struct Exchange {
    pub token: u32,
    /// The turn in which it was submitted, until its first byte has left.
    unsent: Option<u64>,
    /// So large that its last byte leaves later than its first, and has not yet.
    unwritten: bool,
    /// Something of its answer has come.
    answering: bool,
}

impl Exchange {
    pub fn new(token: u32, turn: u64) -> Exchange {
        Exchange { token, unsent: Some(turn), unwritten: false, answering: false }
    }
}

/// What a request of a sequence says in the room that its payload has for it.
pub struct Patch {
    pub at: usize,
    pub correlation: Correlation,
}

/// What one attempt to write brought.
#[derive(Default)]
pub struct Flushed {
    pub bytes: u64,
    /// A request whose first byte left later than in the turn of its submission.
    pub late: Option<u32>,
    /// A large request whose last byte has left.
    pub written: Option<u32>,
}

pub struct Link {
    pub wire: Wire,
    writable: bool,
    pub exchange: Option<Exchange>,
    response: Response,
    outbox: Outbox,
    /// Until when the connection must be open.
    pub deadline: u64,
    /// Which attempt to connect this was.
    pub attempt: u64,
    pub answered: u64,
}

/// What one read brought.
pub enum Heard {
    /// Nothing more for now.
    Nothing,
    /// So many bytes; the socket may hold more.
    Bytes(usize),
    /// So many bytes, the first of the answer to this request, and not its end.
    First(usize, u32),
    /// So many bytes, and with them the end of the response.
    Answer(usize, Result<(), Failure>),
    /// The end of the stream where the response ends with it, too.
    LastAnswer(Result<(), Failure>),
}

impl Link {
    pub fn new(wire: Wire, deadline: u64, attempt: u64, bodiless: bool) -> Link {
        Link {
            wire,
            writable: false,
            exchange: None,
            response: Response::new(bodiless),
            outbox: Outbox::default(),
            deadline,
            attempt,
            answered: 0,
        }
    }

    /// True if there is something to write.
    pub fn became_writable(&mut self) -> Result<bool, Failure> {
        self.writable |= self.wire.became_writable()?;
        Ok(!self.outbox.is_empty())
    }

    #[inline]
    pub fn open(&mut self, mut exchange: Exchange, head: &[u8], pool: &Pool, payload: u32, patch: Option<Patch>) {
        let message = pool.get(payload).len();
        exchange.unwritten = message > LARGE;
        self.exchange = Some(exchange);
        self.outbox.put(head);
        let mut rest = 0;
        if let Some(Patch { at, correlation }) = patch {
            self.outbox.put_payload(pool, payload, 0, at);
            self.outbox.fill(|out| json::put_correlation(out, correlation));
            rest = at + json::ROOM;
        }
        self.outbox.put_payload(pool, payload, rest, message);
    }

    /// Keep the answer of the request that was just opened.
    pub fn sample(&mut self, payload: u32) {
        self.response.sample = Some(Box::new(Sample { payload, ..Sample::default() }));
    }

    /// The outcome of a request, once its answer was compared where it is one of those.
    pub fn checked(&mut self, outcome: Result<(), Failure>, checker: &Checker) -> Result<(), Failure> {
        match self.response.sample.take() {
            Some(sample) => outcome.and_then(|()| checker.check_body(&sample)),
            None => outcome,
        }
    }

    /// Write what the kernel takes.
    #[inline]
    pub fn flush(&mut self, pool: &Pool, turn: u64) -> Result<Flushed, Failure> {
        if !self.writable || self.outbox.is_empty() {
            return Ok(Flushed::default());
        }
        let before = self.outbox.written();
        // Encrypted bytes may still wait in the wire; they leave when the socket says so.
        self.writable = self.outbox.write_to(pool, &mut self.wire).map_err(|error| self.wire.failure(&error))?;
        let mut flushed = Flushed { bytes: self.outbox.written() - before, ..Flushed::default() };
        let Some(exchange) = self.exchange.as_mut().filter(|_| flushed.bytes > 0) else { return Ok(flushed) };
        if exchange.unsent.take().is_some_and(|submitted| submitted != turn) {
            flushed.late = Some(exchange.token);
        }
        if exchange.unwritten && self.outbox.is_empty() {
            exchange.unwritten = false;
            flushed.written = Some(exchange.token);
        }
        Ok(flushed)
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Heard, Failure> {
        let was_open = self.wire.is_open();
        let mut read = self.wire.read(buffer);
        while read.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted) {
            read = self.wire.read(buffer);
        }
        if !was_open && self.wire.is_open() {
            self.writable = true;
        }
        match read {
            Ok(0) if self.exchange.is_some() && self.response.end() => Ok(Heard::LastAnswer(self.response.outcome())),
            Ok(0) => Err(self.cut(self.wire.ended())),
            Ok(count) => self.understand(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Heard::Nothing),
            Err(error) => Err(self.cut(self.wire.failure(&error))),
        }
    }

    /// Say where in the response the connection ended.
    fn cut(&self, failure: Failure) -> Failure {
        if self.exchange.is_none() || self.response.is_untouched() {
            return failure;
        }
        Failure::new(failure.code, format!("{} in the middle of the response", failure.message))
    }

    #[inline]
    fn understand(&mut self, input: &[u8]) -> Result<Heard, Failure> {
        let wrong = |what: &str| Failure::new(Code::ProtocolError, format!("the server sent {what}"));
        let Some(exchange) = &mut self.exchange else { return Err(wrong("a response that nobody waits for")) };
        let used = self.response.feed(input).map_err(|violation| wrong(violation.0))?;
        if !self.response.is_done() {
            let is_first = !std::mem::replace(&mut exchange.answering, true);
            return Ok(if is_first { Heard::First(input.len(), exchange.token) } else { Heard::Bytes(input.len()) });
        }
        if used < input.len() {
            return Err(wrong("more bytes than its response announced"));
        }
        Ok(Heard::Answer(input.len(), self.response.outcome()))
    }

    /// The exchange is over; true if the connection can carry another one.
    #[inline]
    pub fn finish(&mut self) -> bool {
        self.exchange = None;
        self.answered += 1;
        // An answer to a request that was not sent whole: the server would take the rest for the next one.
        let reusable = self.response.may_stay_open() && self.outbox.is_empty();
        self.response.reset();
        reusable
    }
}
