//! One TCP connection with its HTTP/2 state.

use crate::error::{Code, Failure};
use crate::http2::connection::{Connection, Event as Pulse};
use crate::http2::frame;
use crate::kserve::Suffix;
use crate::payload::Pool;
use crate::wire::Wire;
use mio::Registry;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

/// A request whose first byte the kernel has not taken yet.
struct Unsent {
    position: u64,
    token: u32,
    /// The turn in which it was submitted.
    turn: u64,
}

pub struct Link {
    wire: Wire,
    pub connection: Connection,
    writable: bool,
    /// Until when the server must have greeted.
    pub deadline: u64,
    /// Requests answered, however badly.
    pub answered: u64,
    /// Bytes received.
    pub heard: u64,
    /// The beginning of a frame whose end has not arrived.
    rest: Vec<u8>,
    unsent: VecDeque<Unsent>,
    /// What had been heard when the peer was asked for a sign of life, and the first stream opened after that.
    asked: Option<(u64, u32)>,
}

/// What one read brought.
pub enum Heard {
    /// Nothing more for now.
    Enough,
    /// There may be more.
    More,
}

impl Link {
    pub fn new(wire: Wire, connection: Connection, deadline: u64) -> Link {
        Link {
            wire,
            connection,
            writable: false,
            deadline,
            answered: 0,
            heard: 0,
            rest: Vec::new(),
            unsent: VecDeque::new(),
            asked: None,
        }
    }

    /// The kernel says that the socket may be written: for the first time, that the connection was made, or not.
    pub fn became_writable(&mut self) -> Result<(), Failure> {
        self.writable |= self.wire.became_writable()?;
        Ok(())
    }

    #[inline]
    pub fn open(&mut self, token: u32, payload: u32, suffix: Suffix, turn: u64) -> u32 {
        self.unsent.push_back(Unsent { position: self.connection.outbox.queued(), token, turn });
        self.connection.open_with(token, payload, suffix)
    }

    /// Not a byte came for as long as the request on `stream` was given: perhaps nobody is there any more. Ask for a
    /// sign of life; if even a later request has waited for it in vain, use the connection no longer.
    pub fn suspect(&mut self, stream: u32) {
        match self.asked {
            Some((heard, first)) if heard == self.heard && stream >= first => self.connection.retire(),
            Some((heard, _)) if heard == self.heard => {}
            _ => self.asked = Some((self.heard, self.connection.probe())),
        }
    }

    /// No more word about this request.
    pub fn forget(&mut self, token: u32) {
        if !self.unsent.is_empty() {
            self.unsent.retain(|unsent| unsent.token != token);
        }
        if !self.connection.ends.is_empty() {
            self.connection.ends.retain(|(large, _)| *large != token);
        }
    }

    /// Write what the kernel takes; `late` hears of requests that did not get out in the turn of their submission.
    pub fn flush(&mut self, pool: &Pool, turn: u64, mut late: impl FnMut(u32)) -> Result<u64, Failure> {
        let outbox = &mut self.connection.outbox;
        if !self.writable || outbox.is_empty() {
            return Ok(0);
        }
        let before = outbox.written();
        self.writable = outbox.write_to(pool, &mut self.wire).map_err(|error| self.lost(&error))?;
        let written = self.connection.outbox.written();
        while self.unsent.front().is_some_and(|unsent| unsent.position < written) {
            if let Some(unsent) = self.unsent.pop_front().filter(|unsent| unsent.turn != turn) {
                late(unsent.token);
            }
        }
        Ok(written - before)
    }

    /// The next large request whose last byte the kernel has taken.
    pub fn next_written(&mut self) -> Option<u32> {
        let written = self.connection.outbox.written();
        let &(token, _) = self.connection.ends.front().filter(|(_, end)| *end <= written)?;
        self.connection.ends.pop_front();
        Some(token)
    }

    /// Read once into `buffer` and let the connection understand it.
    pub fn read(&mut self, buffer: &mut [u8], pulses: &mut Vec<Pulse>) -> Result<Heard, Failure> {
        let kept = self.rest.len();
        let (rest, room) = buffer.split_at_mut(kept);
        let asked = room.len();
        let was_open = self.wire.is_open();
        let read = self.wire.read(room);
        if !was_open && self.wire.is_open() {
            self.writable = true;
        }
        let count = match read {
            Ok(0) => return Err(self.lost(&io::Error::new(ErrorKind::UnexpectedEof, "the server closed it"))),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::Enough),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Heard::More),
            Err(error) => return Err(self.lost(&error)),
        };
        self.heard += count as u64;
        rest.copy_from_slice(&self.rest);
        self.rest.clear();
        let input = &buffer[..kept + count];
        let used = self.connection.receive(input, pulses).map_err(|violation| {
            self.connection.goodbye(violation.code);
            let name = frame::error_name(violation.code);
            Failure::new(Code::ProtocolError, format!("the server sent {} ({name})", violation.what))
        })?;
        self.rest.extend_from_slice(&input[used..]);
        Ok(if count == asked || self.wire.is_encrypted() { Heard::More } else { Heard::Enough })
    }

    fn lost(&self, error: &io::Error) -> Failure {
        let failure = self.wire.failure(error);
        if self.connection.is_ready() || failure.code == Code::Tls {
            return failure;
        }
        Failure::new(Code::ConnectFailed, format!("connection lost before the server's HTTP/2 greeting: {error}"))
    }

    /// A last attempt to tell the peer what is queued; it may be gone.
    pub fn close(mut self, pool: &Pool, registry: &Registry) {
        if self.writable {
            let _ = self.connection.outbox.write_to(pool, &mut self.wire);
        }
        self.wire.deregister(registry);
    }
}
