//! One load on several endpoints: each has a transport of its own, and requests are dealt to them by weight.

use crate::error::Error;
use crate::reactor::{Reactor, Ready};
use crate::transport::{Clock, Event, Traffic, Transport};
use mio::unix::SourceFd;
use std::os::fd::AsRawFd;

/// Transports have deadlines of their own (when to dial again, until when a server must have greeted), none of them
/// finer than this.
const LOOK_NS: u64 = 5_000_000;

struct Member<T> {
    transport: T,
    weight: i64,
    /// Grows by the weight with each request; who has most is next and pays the sum of all weights.
    credit: i64,
    /// Something was submitted or cancelled since its last turn.
    touched: bool,
}

pub struct Spread<T> {
    members: Vec<Member<T>>,
    total: i64,
    /// By token: whose request it is.
    owners: Vec<usize>,
    reactor: Reactor,
    ready: Vec<Ready>,
    look_at: u64,
}

impl<T: Transport + AsRawFd> Spread<T> {
    /// Transports with their weights, at least one.
    pub fn new(members: Vec<(T, u32)>) -> Result<Spread<T>, Error> {
        let set_up = Error::system("set up the event loop");
        let reactor = Reactor::new().map_err(&set_up)?;
        for (n, (transport, _)) in members.iter().enumerate() {
            // An epoll instance is itself readable while it has something to say.
            reactor.watch(&mut SourceFd(&transport.as_raw_fd()), n).map_err(&set_up)?;
        }
        let total = members.iter().map(|(_, weight)| i64::from(*weight)).sum();
        let member = |(transport, weight)| Member { transport, weight: i64::from(weight), credit: 0, touched: true };
        Ok(Spread {
            members: members.into_iter().map(member).collect(),
            total,
            owners: Vec::new(),
            reactor,
            ready: Vec::new(),
            look_at: 0,
        })
    }

    /// Smooth weighted round robin: in every round each gets its share, and nobody's come in a row if they need not.
    fn next(&mut self) -> usize {
        let mut best = 0;
        for n in 0..self.members.len() {
            self.members[n].credit += self.members[n].weight;
            if self.members[n].credit > self.members[best].credit {
                best = n;
            }
        }
        self.members[best].credit -= self.total;
        best
    }
}

impl<T: Transport + AsRawFd> Transport for Spread<T> {
    fn submit(&mut self, token: u32, payload: u32) {
        let owner = self.next();
        if self.owners.len() <= token as usize {
            self.owners.resize(token as usize + 1, 0);
        }
        self.owners[token as usize] = owner;
        self.members[owner].touched = true;
        self.members[owner].transport.submit(token, payload);
    }

    fn cancel(&mut self, token: u32) {
        let member = &mut self.members[self.owners[token as usize]];
        member.touched = true;
        member.transport.cancel(token);
    }

    fn poll(&mut self, clock: &impl Clock, until: u64, events: &mut Vec<Event>) {
        let now = clock.now();
        let all = now >= self.look_at;
        for member in self.members.iter_mut().filter(|member| all || member.touched) {
            member.touched = false;
            member.transport.poll(clock, now, events);
        }
        if all {
            self.look_at = now + LOOK_NS;
        }
        let until = if events.is_empty() { until.min(self.look_at) } else { now };
        self.reactor.wait(now, until, &mut self.ready);
        for ready in &self.ready {
            let member = &mut self.members[ready.slot];
            // Edges are reported once: look again in the next turn, even if this one does not take everything.
            member.touched = true;
            member.transport.poll(clock, now, events);
        }
    }

    fn traffic(&self) -> Traffic {
        let sum = |part: fn(&Traffic) -> u64| self.members.iter().map(|member| part(&member.transport.traffic())).sum();
        Traffic {
            bytes_sent: sum(|t| t.bytes_sent),
            bytes_received: sum(|t| t.bytes_received),
            reconnects: sum(|t| t.reconnects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::SystemClock;
    use mio::Poll;
    use std::os::fd::RawFd;

    /// Answers in the next turn; its descriptor is never readable.
    struct Instant {
        poll: Poll,
        taken: Vec<u32>,
        log: Vec<u32>,
    }

    impl AsRawFd for Instant {
        fn as_raw_fd(&self) -> RawFd {
            self.poll.as_raw_fd()
        }
    }

    impl Transport for Instant {
        fn submit(&mut self, token: u32, _: u32) {
            self.taken.push(token);
            self.log.push(token);
        }

        fn cancel(&mut self, token: u32) {
            self.taken.retain(|taken| *taken != token);
        }

        fn poll(&mut self, _: &impl Clock, until: u64, events: &mut Vec<Event>) {
            events.extend(self.taken.drain(..).map(|token| Event::Done { token, at: until, outcome: Ok(()) }));
        }

        fn traffic(&self) -> Traffic {
            Traffic { bytes_sent: self.log.len() as u64, ..Traffic::default() }
        }
    }

    fn spread(weights: &[u32]) -> Spread<Instant> {
        let member = |&weight| (Instant { poll: Poll::new().unwrap(), taken: Vec::new(), log: Vec::new() }, weight);
        Spread::new(weights.iter().map(member).collect()).unwrap()
    }

    #[test]
    fn requests_are_dealt_by_weight_and_evenly() {
        let mut spread = spread(&[3, 1]);
        let mut events = Vec::new();
        (0..8).for_each(|token| spread.submit(token, 0));
        spread.poll(&SystemClock::start(), 0, &mut events);
        assert_eq!(events.len(), 8);
        assert_eq!(spread.members[0].transport.log, [0, 1, 3, 4, 5, 7]);
        assert_eq!(spread.members[1].transport.log, [2, 6]);
        assert_eq!(spread.traffic().bytes_sent, 8);
    }

    #[test]
    fn cancelling_reaches_the_owner() {
        let mut spread = spread(&[1, 1]);
        let mut events = Vec::new();
        (0..4).for_each(|token| spread.submit(token, 0));
        spread.cancel(1);
        spread.poll(&SystemClock::start(), 0, &mut events);
        assert_eq!(events.len(), 3);
    }
}
