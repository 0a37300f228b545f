//! The one loop: ask the schedule what is due, hand it to the transport, record what comes back.

use crate::error::{Code, Failure};
use crate::extra::{Times, UNFINISHED, status};
use crate::payload::Draw;
use crate::recorder::{Recorder, WorkerSlice};
use crate::schedule::{Schedule, Step};
use crate::sequences::{Progress, Sequences};
use crate::transport::{Clock, Event, Transport};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Longest sleep of an idle worker: how late it may notice that it has been told to stop.
const NOTICE_NS: u64 = 50_000_000;

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

/// What a worker does beyond sending and counting.
#[derive(Default)]
pub struct Extras {
    pub sequences: Option<Sequences>,
    pub records: bool,
    pub streaming: bool,
    pub worker: u16,
    /// How long before a request is due this worker stops sleeping and keeps looking: waking up takes a while, too.
    pub early_ns: u64,
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
    written: u64,
    first: u64,
    /// Place of its sequence.
    place: u32,
    /// Only ends a sequence: not counted among the requests.
    closing: bool,
    responses: u64,
    first_response: u64,
    last_response: u64,
}

impl Request {
    fn times(&self, done: u64) -> Times {
        Times { intended: self.intended, sent: self.sent, written: self.written, first: self.first, done }
    }
}

struct Deadline {
    at: u64,
    token: u32,
    life: u32,
}

/// Run one worker's job to its end; every closed slice goes to `sink`.
pub fn drive<T: Transport, C: Clock>(job: Job, transport: &mut T, clock: &C, sink: impl FnMut(WorkerSlice)) -> Ended {
    drive_with(job, Extras::default(), transport, clock, sink)
}

/// As `drive`, with sequences or records.
pub fn drive_with<T: Transport, C: Clock>(
    job: Job,
    extras: Extras,
    transport: &mut T,
    clock: &C,
    sink: impl FnMut(WorkerSlice),
) -> Ended {
    let mut driver = Driver {
        recorder: Recorder::new(job.start, job.slice_ns, clock.cpu(), sink),
        stop_at: job.max_duration_ns.map_or(u64::MAX, |limit| job.start.saturating_add(limit)),
        stopped_at: None,
        requests: Vec::new(),
        free: Vec::new(),
        deadlines: VecDeque::new(),
        wake_at: u64::MAX,
        extras,
        closing: 0,
        answered_at: None,
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
    extras: Extras,
    /// Requests in flight that only end a sequence.
    closing: usize,
    /// When the last request that counts had its outcome, if sending had stopped by then.
    answered_at: Option<u64>,
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
            if self.extras.sequences.is_some() {
                self.close_sequences(now);
            }
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
        let all_done = self.recorder.in_flight() == 0 && self.closing == 0;
        all_done || now >= drain_until || self.job.signals.command() == Signals::ABORT
    }

    fn drain_until(&self) -> Option<u64> {
        self.stopped_at.map(|at| at.saturating_add(self.job.drain_timeout_ns))
    }

    fn poll_until(&self, now: u64) -> u64 {
        let timeout = self.deadlines.front().map_or(u64::MAX, |d| d.at);
        let stop_at = self.drain_until().unwrap_or(self.stop_at);
        let send = self.wake_at.saturating_sub(self.extras.early_ns);
        [now + NOTICE_NS, self.recorder.edge(), timeout, stop_at, send].into_iter().fold(u64::MAX, u64::min)
    }

    fn issue(&mut self, now: u64) {
        while self.stopped_at.is_none() {
            let is_over = now >= self.stop_at;
            if (is_over && !self.job.schedule.is_open()) || self.job.signals.is_set() || self.is_used_up() {
                return self.stop(now.min(self.stop_at));
            }
            let is_full = self.extras.sequences.as_ref().is_some_and(|sequences| !sequences.has_idle());
            if is_full && !is_over {
                // What is due waits for an answer, and is late: the order within a sequence is kept.
                self.wake_at = u64::MAX;
                return;
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
                // At the end no sequence is free for it.
                Step::Send { .. } if is_full => {
                    self.job.schedule.finished(0, 0);
                    self.recorder.dropped();
                }
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
        let turn = self.extras.sequences.as_mut().and_then(|sequences| sequences.take(intended));
        let payload = turn.as_ref().and_then(|turn| turn.payload);
        let payload = payload.unwrap_or_else(|| self.job.draw.draw_for(self.next_token()));
        self.recorder.sent(now);
        match turn {
            None => {
                let token = self.begin(Request { intended, sent: now, payload, ..Request::default() }, now);
                self.transport.submit(token, payload);
            }
            Some(turn) => {
                let place = turn.place;
                let token = self.begin(Request { intended, sent: now, payload, place, ..Request::default() }, now);
                self.transport.submit_in(token, payload, turn.correlation);
            }
        }
    }

    /// Puts the request in flight, under a token and a deadline.
    #[inline]
    fn begin(&mut self, request: Request, now: u64) -> u32 {
        let token = self.free.pop().unwrap_or_else(|| {
            self.requests.push(Request::default());
            (self.requests.len() - 1) as u32
        });
        let place = &mut self.requests[token as usize];
        let life = place.life.wrapping_add(1);
        *place = Request { life, ..request };
        let at = now.saturating_add(self.job.request_timeout_ns);
        self.deadlines.push_back(Deadline { at, token, life });
        self.forget_met_deadlines();
        token
    }

    /// Tell the server of sequences that no more requests will end, so that it need not wait for them.
    fn close_sequences(&mut self, now: u64) {
        let is_over = self.stopped_at.is_some();
        if self.job.signals.command() == Signals::ABORT {
            return;
        }
        while let Some(sequences) = &mut self.extras.sequences {
            let closed = sequences.close_broken().or_else(|| if is_over { sequences.close_living() } else { None });
            let Some(correlation) = closed else { return };
            let payload = self.job.draw.draw_for(self.next_token());
            let token =
                self.begin(Request { intended: now, sent: now, payload, closing: true, ..Request::default() }, now);
            self.closing += 1;
            self.recorder.extra.closing();
            self.transport.submit_in(token, payload, correlation);
        }
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
        let request = *request;
        self.release(token);
        if !request.closing {
            self.job.schedule.finished(token, request.responses);
        }
        request
    }

    /// The lowest free token is the next one; only requests that end sequences can make that other than the latest.
    #[inline]
    fn release(&mut self, token: u32) {
        if self.extras.sequences.is_none() {
            return self.free.push(token);
        }
        let place = self.free.partition_point(|&free| free > token);
        self.free.insert(place, token);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Sent { token, at } => self.requests[token as usize].sent = at,
            Event::Written { token, at } => self.requests[token as usize].written = at,
            Event::First { token, at } => self.requests[token as usize].first = at,
            Event::Response { token, at } => self.respond(token, at),
            Event::Done { token, at, outcome } => {
                self.advance(at);
                let request = self.finish(token);
                self.conclude(request, at, outcome);
            }
        }
    }

    fn respond(&mut self, token: u32, at: u64) {
        self.advance(at);
        let request = &mut self.requests[token as usize];
        if request.closing {
            return;
        }
        self.job.schedule.responded(token);
        self.recorder.extra.response();
        if request.responses > 0 {
            self.recorder.extra.gap(at.saturating_sub(request.last_response));
        } else {
            request.first_response = at;
            // The head of a long-lived stream says nothing of a request.
            request.first = at;
        }
        request.responses += 1;
        request.last_response = at;
    }

    /// Count the outcome of a request that is no longer in flight.
    fn conclude(&mut self, request: Request, at: u64, outcome: Result<(), Failure>) {
        if request.closing {
            self.closing -= 1;
            return;
        }
        let code = outcome.as_ref().map_err(|failure| failure.code).copied();
        let mut times = request.times(at);
        match outcome {
            Ok(()) => {
                if times.first == 0 {
                    // Its beginning and its end came in one piece.
                    times.first = at;
                }
                self.recorder.items(self.job.draw.items(request.payload));
                self.recorder.ok(at, request.intended, request.sent);
                self.recorder.extra.split(&times);
                if self.extras.streaming {
                    let after = |at: u64| at.saturating_sub(request.intended);
                    let (first, last) = (after(request.first_response), after(request.last_response));
                    self.recorder.extra.streamed(request.responses, first, last);
                }
            }
            Err(failure) => self.recorder.failed(at, failure),
        }
        if self.extras.records {
            let (start, worker) = (self.job.start, self.extras.worker);
            self.recorder.extra.record(start, &times, request.payload, status(code), worker);
        }
        if self.extras.sequences.is_some() && self.stopped_at.is_some() && self.recorder.in_flight() == 0 {
            self.answered_at = Some(at);
        }
        self.continue_sequence(&request, at, code);
    }

    fn continue_sequence(&mut self, request: &Request, at: u64, outcome: Result<(), Code>) {
        let Some(sequences) = &mut self.extras.sequences else { return };
        // A server that answered, or may yet, keeps a broken sequence until it is told to end it.
        let server_lives = matches!(outcome, Err(Code::Grpc(_) | Code::Http(_) | Code::Timeout | Code::WrongOutput));
        match sequences.answered(request.place, outcome.is_ok(), server_lives) {
            Progress::GoesOn => {}
            Progress::Finished { began } => self.recorder.extra.sequence(at.saturating_sub(began)),
            Progress::Broken => self.recorder.extra.sequence_failed(),
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
                let request = self.finish(token);
                let seconds = self.job.request_timeout_ns as f64 / 1e9;
                let failure = Failure::new(Code::Timeout, format!("no answer within {seconds} s"));
                self.conclude(request, now, Err(failure));
            }
        }
    }

    fn end(&mut self, stopped: u64, now: u64) -> Ended {
        let unfinished = self.recorder.in_flight() as u64;
        if self.extras.records {
            let waiting = self.requests.iter().filter(|r| r.life % 2 == 1 && !r.closing);
            for request in waiting {
                let times = request.times(0);
                self.recorder.extra.record(self.job.start, &times, request.payload, UNFINISHED, self.extras.worker);
            }
        }
        let traffic = self.transport.traffic();
        self.recorder.finish(now, self.clock.cpu(), traffic);
        Ended {
            stopped_ns: stopped - self.job.start,
            // Requests that only end sequences come after those that count.
            ended_ns: self.answered_at.filter(|_| unfinished == 0).unwrap_or(now) - self.job.start,
            unfinished,
            reconnects: traffic.reconnects,
        }
    }
}
