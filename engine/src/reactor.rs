//! The event loop of a worker: sleeps until a socket has something to say, or until a time given in nanoseconds.

use crate::alarm::Alarm;
use mio::event::Source;
use mio::{Events, Interest, Poll, Registry, Token};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Sockets looked at in one turn. After a turn requests that became due are sent, so that reading many answers holds
/// none of them up for long.
const READY_EVENTS: usize = 64;
const ALARM: Token = Token(usize::MAX >> 1);

/// What a socket has to say.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// What it was registered as.
    pub slot: usize,
    pub writable: bool,
    pub readable: bool,
    /// The peer sends nothing more, or the connection broke.
    pub ended: bool,
}

pub struct Reactor {
    poll: Poll,
    events: Events,
    alarm: Alarm,
}

impl Reactor {
    pub fn new() -> io::Result<Reactor> {
        let poll = Poll::new()?;
        let alarm = Alarm::new(poll.registry(), ALARM)?;
        Ok(Reactor { poll, events: Events::with_capacity(READY_EVENTS), alarm })
    }

    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Hear when `source` can be read.
    pub fn watch(&self, source: &mut impl Source, slot: usize) -> io::Result<()> {
        self.poll.registry().register(source, Token(slot), Interest::READABLE)
    }

    /// Sleep until something is ready, until `until` at the latest, and say in `ready` what is.
    pub fn wait(&mut self, now: u64, until: u64, ready: &mut Vec<Ready>) {
        let timeout = if until <= now {
            Some(Duration::ZERO)
        } else {
            self.alarm.set(now, until);
            None
        };
        ready.clear();
        // An interrupted or failed wait is only a short one: the caller looks at the clock and comes back.
        if self.poll.poll(&mut self.events, timeout).is_ok() {
            let sockets = self.events.iter().filter(|event| event.token() != ALARM);
            ready.extend(sockets.map(|event| Ready {
                slot: event.token().0,
                writable: event.is_writable() || event.is_error(),
                readable: event.is_readable() || event.is_read_closed() || event.is_error(),
                ended: event.is_read_closed() || event.is_error(),
            }));
        }
    }
}

impl AsRawFd for Reactor {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}
