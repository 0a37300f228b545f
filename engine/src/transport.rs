//! What the drive loop asks of whoever carries its requests, and of the clock.

use crate::error::Failure;
use crate::sequences::Correlation;

/// Nanoseconds on one monotonic clock.
pub trait Clock {
    fn now(&self) -> u64;
    /// User plus system time of the calling thread.
    fn cpu(&self) -> u64;
}

/// What a transport has to report; `at` is read from the clock as close to the event as possible.
#[derive(Debug)]
pub enum Event {
    /// The request's first byte was handed over only now, not when it was submitted.
    Sent {
        token: u32,
        at: u64,
    },
    Done {
        token: u32,
        at: u64,
        outcome: Result<(), Failure>,
    },
    /// The request's last byte was handed over later than its first.
    Written {
        token: u32,
        at: u64,
    },
    /// Something of a unary answer has come, and its end not with it.
    First {
        token: u32,
        at: u64,
    },
    /// One of the responses of a stream has come.
    Response {
        token: u32,
        at: u64,
    },
}

/// Carries requests to a service. Tokens are small dense numbers, reused once their request is done or cancelled.
pub trait Transport {
    /// Takes a request; never blocks, never fails: failures are events.
    fn submit(&mut self, token: u32, payload: u32);
    /// As `submit`, for a request of a sequence, which has to say so.
    fn submit_in(&mut self, token: u32, payload: u32, _correlation: Correlation) {
        self.submit(token, payload);
    }
    /// Forgets a request: no event about it follows.
    fn cancel(&mut self, token: u32);
    /// Hands over what was submitted, waits for events until `until` at the latest, and appends them.
    fn poll(&mut self, clock: &impl Clock, until: u64, events: &mut Vec<Event>);
    /// Payload-independent totals so far.
    fn traffic(&self) -> Traffic;
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub reconnects: u64,
}
