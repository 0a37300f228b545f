//! The one loop: ask the schedule what is due, hand it to the transport, record what comes back.

use crate::error::{Code, Failure};
use crate::payload::Draw;
use crate::recorder::{Recorder, WorkerSlice};
use crate::schedule::{Schedule, Step};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Longest sleep of an idle worker: how late it may notice that it has been told to stop.
const NOTICE_NS: u64 = 20_000_000;

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
}

/// Carries requests to a service. Tokens are small dense numbers, reused once their request is done or cancelled.
pub trait Transport {
    /// Takes a request; never blocks, never fails: failures are events.
    fn submit(&mut self, token: u32, payload: u32);
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

/// What the calling thread tells its workers.
#[derive(Default)]
pub struct Signals {
    command: AtomicU8,
    /// Requests claimed so far, where the plan limits their number.
    claimed: AtomicU64,
}

impl Signals {
    const STOP: u8 = 1;
    const ABORT: u8 = 2;

    /// Send nothing more, wait for what is in flight.
    pub fn stop(&self) {
        self.command.fetch_max(Signals::STOP, Ordering::Relaxed);
    }

    /// End at once.
    pub fn abort(&self) {
        self.command.fetch_max(Signals::ABORT, Ordering::Relaxed);
    }

    /// True once the workers were told to end.
    pub fn is_set(&self) -> bool {
        self.command() != 0
    }

    fn command(&self) -> u8 {
        self.command.load(Ordering::Relaxed)
    }
}

/// One worker's part of a run.
pub struct Job<'a> {
    pub schedule: Schedule,
    pub draw: Draw,
    pub start: u64,
    pub slice_ns: u64,
    pub max_requests: Option<u64>,
    pub max_duration_ns: Option<u64>,
    pub request_timeout_ns: u64,
    pub drain_timeout_ns: u64,
    pub signals: &'a Signals,
}

/// How a worker's part ended; offsets from the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub stopped_ns: u64,
    pub ended_ns: u64,
    pub unfinished: u64,
    pub reconnects: u64,
}

#[derive(Clone, Copy, Default)]
struct Request {
    intended: u64,
    sent: u64,
    payload: u32,
    /// Tells this use of the token from earlier ones; odd while in flight.
    life: u32,
}

struct Deadline {
    at: u64,
    token: u32,
    life: u32,
}

/// Run one worker's job to its end; every closed slice goes to `sink`.
pub fn drive<T: Transport, C: Clock>(job: Job, transport: &mut T, clock: &C, sink: impl FnMut(WorkerSlice)) -> Ended {
    let mut driver = Driver {
        recorder: Recorder::new(job.start, job.slice_ns, clock.cpu(), sink),
        stop_at: job.max_duration_ns.map_or(u64::MAX, |limit| job.start.saturating_add(limit)),
        stopped_at: None,
        requests: Vec::new(),
        free: Vec::new(),
        deadlines: VecDeque::new(),
        wake_at: u64::MAX,
        job,
        transport,
        clock,
    };
    driver.run()
}

struct Driver<'a, T: Transport, C: Clock, S: FnMut(WorkerSlice)> {
    job: Job<'a>,
    transport: &'a mut T,
    clock: &'a C,
    recorder: Recorder<S>,
    stop_at: u64,
    /// When sending stopped and the drain began.
    stopped_at: Option<u64>,
    requests: Vec<Request>,
    free: Vec<u32>,
    /// In order, because every request has the same timeout.
    deadlines: VecDeque<Deadline>,
    /// When the schedule has its next request.
    wake_at: u64,
}

impl<T: Transport, C: Clock, S: FnMut(WorkerSlice)> Driver<'_, T, C, S> {
    fn run(&mut self) -> Ended {
        let mut events = Vec::new();
        let mut busy_since = self.clock.now();
        loop {
            let now = self.clock.now();
            self.advance(now);
            self.expire(now);
            self.issue(now);
            if let Some(stopped_at) = self.stopped_at.filter(|_| self.is_over(now)) {
                return self.end(stopped_at, now);
            }
            let until = self.poll_until(now);
            self.recorder.stall(self.clock.now().saturating_sub(busy_since));
            self.transport.poll(self.clock, until, &mut events);
            busy_since = self.clock.now();
            self.recorder.stall(busy_since.saturating_sub(until.max(now)));
            events.drain(..).for_each(|event| self.handle(event));
        }
    }

    fn advance(&mut self, now: u64) {
        if self.recorder.is_due(now) {
            self.recorder.close_until(now, self.clock.cpu(), self.transport.traffic());
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let Some(drain_until) = self.drain_until() else { return false };
        self.recorder.in_flight() == 0 || now >= drain_until || self.job.signals.command() == Signals::ABORT
    }

    fn drain_until(&self) -> Option<u64> {
        self.stopped_at.map(|at| at.saturating_add(self.job.drain_timeout_ns))
    }

    fn poll_until(&self, now: u64) -> u64 {
        let timeout = self.deadlines.front().map_or(u64::MAX, |d| d.at);
        let stop_at = self.drain_until().unwrap_or(self.stop_at);
        [now + NOTICE_NS, self.recorder.edge(), timeout, stop_at, self.wake_at].into_iter().fold(u64::MAX, u64::min)
    }

    fn issue(&mut self, now: u64) {
        while self.stopped_at.is_none() {
            let is_over = now >= self.stop_at;
            if (is_over && !self.job.schedule.is_open()) || self.job.signals.is_set() || self.is_used_up() {
                return self.stop(now.min(self.stop_at));
            }
            // What was due before the end is sent or dropped even if this comes to it late: nothing is forgotten.
            let at = if is_over { self.stop_at - 1 } else { now };
            match self.job.schedule.step(at - self.job.start, self.recorder.in_flight()) {
                Step::Wait { .. } if is_over => return self.stop(self.stop_at),
                Step::Wait { until_ns } => {
                    self.wake_at = self.job.start.saturating_add(until_ns);
                    return;
                }
                Step::End => return self.stop(now),
                Step::Send { .. } | Step::Drop if !self.claim() => return self.stop(now),
                Step::Drop => self.recorder.dropped(),
                Step::Send { intended_ns } => self.send(self.job.start + intended_ns, now),
            }
        }
    }

    fn stop(&mut self, at: u64) {
        self.stopped_at = Some(at);
        self.wake_at = u64::MAX;
    }

    /// The only thing workers share while they run, and only when the plan limits the number of requests.
    fn claim(&self) -> bool {
        match self.job.max_requests {
            Some(limit) => self.job.signals.claimed.fetch_add(1, Ordering::Relaxed) < limit,
            None => true,
        }
    }

    /// Checked beside `claim` so that sending stops with the last request, not when the next would have been due.
    fn is_used_up(&self) -> bool {
        self.job.max_requests.is_some_and(|limit| self.job.signals.claimed.load(Ordering::Relaxed) >= limit)
    }

    /// The token of the request that is sent next.
    #[inline]
    fn next_token(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.requests.len() as u32)
    }

    fn send(&mut self, intended: u64, now: u64) {
        let payload = self.job.draw.draw_for(self.next_token());
        let token = self.free.pop().unwrap_or_else(|| {
            self.requests.push(Request::default());
            (self.requests.len() - 1) as u32
        });
        let request = &mut self.requests[token as usize];
        *request = Request { intended, sent: now, payload, life: request.life.wrapping_add(1) };
        let at = now.saturating_add(self.job.request_timeout_ns);
        self.deadlines.push_back(Deadline { at, token, life: request.life });
        self.forget_met_deadlines();
        self.recorder.sent(now);
        self.transport.submit(token, payload);
    }

    /// Deadlines leave at the front; behind one slow request the met ones would pile up for a whole timeout.
    fn forget_met_deadlines(&mut self) {
        if self.deadlines.len() > 4 * self.requests.len() + 1024 {
            self.deadlines.retain(|d| self.requests[d.token as usize].life == d.life);
        }
    }

    /// Takes the token's request out of flight.
    fn finish(&mut self, token: u32) -> Request {
        let request = &mut self.requests[token as usize];
        debug_assert!(request.life % 2 == 1, "an event about a request that is not in flight");
        request.life = request.life.wrapping_add(1);
        self.free.push(token);
        self.job.schedule.finished(token);
        *request
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Sent { token, at } => self.requests[token as usize].sent = at,
            Event::Done { token, at, outcome } => {
                self.advance(at);
                let request = self.finish(token);
                match outcome {
                    Ok(()) => {
                        self.recorder.items(self.job.draw.items(request.payload));
                        self.recorder.ok(at, request.intended, request.sent);
                    }
                    Err(failure) => self.recorder.failed(at, failure),
                }
            }
        }
    }

    fn expire(&mut self, now: u64) {
        while let Some(deadline) = self.deadlines.front() {
            let live = self.requests[deadline.token as usize].life == deadline.life;
            if live && deadline.at > now {
                return;
            }
            let token = deadline.token;
            self.deadlines.pop_front();
            if live {
                self.transport.cancel(token);
                self.finish(token);
                let seconds = self.job.request_timeout_ns as f64 / 1e9;
                self.recorder.failed(now, Failure::new(Code::Timeout, format!("no answer within {seconds} s")));
            }
        }
    }

    fn end(&mut self, stopped: u64, now: u64) -> Ended {
        let unfinished = self.recorder.in_flight() as u64;
        let traffic = self.transport.traffic();
        self.recorder.finish(now, self.clock.cpu(), traffic);
        Ended {
            stopped_ns: stopped - self.job.start,
            ended_ns: now - self.job.start,
            unfinished,
            reconnects: traffic.reconnects,
        }
    }
}
