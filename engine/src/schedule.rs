//! When requests are meant to be sent, as a value: no clock, no sleeping, no sockets.

use crate::plan::{self, Arrivals};
use crate::random::Random;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How long a worker that has nothing to do waits for another one to send what is due before it does so itself: longer
/// than waking up takes, short beside what a thread waits for a processor where others want it, too.
const GRACE_NS: u64 = 200_000;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send a request that was meant for this offset.
    Send { intended_ns: u64 },
    /// A request was due, but as many as allowed are in flight: it is dropped and counted.
    Drop,
    /// Nothing before this offset unless a request finishes.
    Wait { until_ns: u64 },
    /// The schedule has no more requests.
    End,
}

/// What the workers of a run have in common: a few words that nobody waits for.
#[derive(Debug, Default)]
pub struct Shared {
    /// Number of the next request of an open loop; whoever moves it on sends that request.
    next: AtomicU64,
    /// Requests of an open loop without an outcome, all workers together.
    in_flight: AtomicUsize,
    /// What a closed loop is asked to keep in flight, all workers together.
    concurrency: AtomicUsize,
}

impl Shared {
    pub fn new(plan: &plan::Schedule) -> Arc<Shared> {
        let concurrency = match plan {
            plan::Schedule::Closed(closed) => closed.concurrency,
            _ => 0,
        };
        Arc::new(Shared { concurrency: AtomicUsize::new(concurrency), ..Shared::default() })
    }

    /// Another number of requests in flight from now on; what is in flight beyond it finishes.
    pub fn set_concurrency(&self, concurrency: usize) {
        self.concurrency.store(concurrency, Ordering::Relaxed);
    }
}

/// One worker's share of the schedule; offsets count from the start of the run.
pub enum Schedule {
    Closed(Closed),
    Periodic(Periodic),
    Open(Open),
}

impl Schedule {
    /// A closed loop of one worker.
    pub fn closed(concurrency: usize) -> Schedule {
        let plan = plan::Schedule::Closed(plan::Closed { concurrency });
        Schedule::share(&plan, 0, 0, 1, &Shared::new(&plan))
    }

    pub fn share(plan: &plan::Schedule, seed: u64, worker: usize, workers: usize, shared: &Arc<Shared>) -> Schedule {
        let (shared, place) = (shared.clone(), Place { worker, workers });
        match plan {
            plan::Schedule::Closed(_) => Schedule::Closed(Closed { shared, place, asked: 0, concurrency: 0 }),
            plan::Schedule::Periodic(periodic) => Schedule::Periodic(Periodic::new(periodic)),
            plan::Schedule::Open(open) => {
                let offsets = Offsets::new(&open.arrivals, seed);
                Schedule::Open(Open { shared, place, offsets, max_in_flight: open.max_in_flight })
            }
        }
    }

    /// What to do at `now_ns` with `in_flight` requests of this worker out. A late request is still sent, at its lag: a
    /// schedule that was missed is not forgotten.
    #[inline]
    pub fn step(&mut self, now_ns: u64, in_flight: usize) -> Step {
        match self {
            Schedule::Closed(closed) => send_below(closed.concurrency(), now_ns, in_flight),
            Schedule::Periodic(periodic) if periodic.is_over => Step::End,
            Schedule::Periodic(periodic) => send_below(periodic.concurrency, now_ns, in_flight),
            Schedule::Open(open) => open.step(now_ns),
        }
    }

    /// Requests are due at their times, however late the worker looks.
    pub fn is_open(&self) -> bool {
        matches!(self, Schedule::Open(_))
    }

    /// A request has its outcome after so many responses of a stream. Tokens are slots: the lowest free ones are taken
    /// first, a freed one at once.
    #[inline]
    pub fn finished(&mut self, token: u32, responses: u64) {
        match self {
            Schedule::Closed(_) => {}
            // Its responses have been counted one by one.
            Schedule::Periodic(_) if responses > 0 => {}
            Schedule::Periodic(periodic) => periodic.answered(token as usize),
            Schedule::Open(open) => {
                open.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// A response of a stream has come, not necessarily the last one of its request.
    pub fn responded(&mut self, token: u32) {
        if let Schedule::Periodic(periodic) = self {
            periodic.answered(token as usize);
        }
    }
}

#[inline]
fn send_below(concurrency: usize, now_ns: u64, in_flight: usize) -> Step {
    if in_flight < concurrency { Step::Send { intended_ns: now_ns } } else { Step::Wait { until_ns: u64::MAX } }
}

#[derive(Clone, Copy)]
struct Place {
    worker: usize,
    workers: usize,
}

/// So many in flight; the number may change while it runs.
pub struct Closed {
    shared: Arc<Shared>,
    place: Place,
    asked: usize,
    /// This worker's part of `asked`.
    concurrency: usize,
}

impl Closed {
    #[inline]
    fn concurrency(&mut self) -> usize {
        let asked = self.shared.concurrency.load(Ordering::Relaxed);
        if asked != self.asked {
            self.asked = asked;
            self.concurrency = part(asked, self.place.worker, self.place.workers);
        }
        self.concurrency
    }
}

/// A closed loop that grows by a step once each slot of the newest one has had so many answers: outcomes of requests,
/// on streams their responses.
pub struct Periodic {
    plan: plan::Periodic,
    concurrency: usize,
    /// Answers of each slot of the newest step, which are the last of all slots.
    outcomes: Vec<u64>,
    /// Slots of the newest step that have not had enough of them.
    waiting: usize,
    is_over: bool,
}

impl Periodic {
    fn new(plan: &plan::Periodic) -> Periodic {
        let start = plan.start;
        Periodic { plan: *plan, concurrency: start, outcomes: vec![0; start], waiting: start, is_over: false }
    }

    fn answered(&mut self, slot: usize) {
        let first = self.concurrency - self.outcomes.len();
        let Some(outcomes) = slot.checked_sub(first).and_then(|n| self.outcomes.get_mut(n)) else { return };
        *outcomes += 1;
        if *outcomes == self.plan.request_period {
            self.waiting -= 1;
            if self.waiting == 0 {
                self.grow();
            }
        }
    }

    fn grow(&mut self) {
        let step = self.plan.step.min(self.plan.end - self.concurrency);
        if step == 0 {
            self.is_over = true;
            return;
        }
        self.concurrency += step;
        self.outcomes = vec![0; step];
        self.waiting = step;
    }
}

/// Requests at their times. Every request has a home worker, which wakes up for it; but once it is due, whoever looks
/// first takes it, so a worker that is held up delays nothing.
pub struct Open {
    shared: Arc<Shared>,
    place: Place,
    offsets: Offsets,
    max_in_flight: usize,
}

impl Open {
    #[inline]
    fn step(&mut self, now_ns: u64) -> Step {
        let mut next = self.shared.next.load(Ordering::Relaxed);
        loop {
            self.offsets.forget_below(next);
            let Some(intended_ns) = self.offsets.at(next) else { return Step::End };
            if intended_ns > now_ns {
                return Step::Wait { until_ns: self.wake_at(next, intended_ns) };
            }
            match self.shared.next.compare_exchange_weak(next, next + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return self.send_or_drop(intended_ns),
                Err(newer) => next = newer,
            }
        }
    }

    fn send_or_drop(&self, intended_ns: u64) -> Step {
        if self.shared.in_flight.fetch_add(1, Ordering::Relaxed) < self.max_in_flight {
            return Step::Send { intended_ns };
        }
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        Step::Drop
    }

    /// When this worker has something to do: its own next request, or, should their workers be held up, one of those
    /// before it. The others look in turn, so that not all wake up for the same request.
    fn wake_at(&mut self, next: u64, intended_ns: u64) -> u64 {
        let Place { worker, workers } = self.place;
        let ahead = (worker as u64 + workers as u64 - next % workers as u64) % workers as u64;
        let instead = intended_ns.saturating_add(ahead * GRACE_NS);
        self.offsets.at(next + ahead).map_or(instead, |own| own.min(instead))
    }
}

/// Fair share of `total` for one of `workers`.
pub fn part(total: usize, worker: usize, workers: usize) -> usize {
    total * (worker + 1) / workers - total * worker / workers
}

/// All send offsets, ascending, by number. Every worker walks the whole sequence, so the schedule does not depend on
/// how many workers there are; numbers below one that was asked for are forgotten.
pub struct Offsets {
    all: Sequence,
    /// Number of the first one in `ahead`.
    first: u64,
    ahead: VecDeque<u64>,
}

impl Offsets {
    pub fn new(arrivals: &Arrivals, seed: u64) -> Offsets {
        Offsets { all: Sequence::new(arrivals, seed), first: 0, ahead: VecDeque::new() }
    }

    /// The offset of request `n`; None when the schedule ends before it.
    #[inline]
    pub fn at(&mut self, n: u64) -> Option<u64> {
        let index = (n - self.first) as usize;
        while self.ahead.len() <= index {
            self.ahead.push_back(self.all.next()?);
        }
        self.ahead.get(index).copied()
    }

    /// Numbers below `n` will not be asked for again.
    #[inline]
    fn forget_below(&mut self, n: u64) {
        while self.first < n && self.ahead.pop_front().is_some() {
            self.first += 1;
        }
    }
}

/// All send offsets in nanoseconds.
enum Sequence {
    /// Computed from n, so that rounding never accumulates.
    Constant {
        rate: f64,
        n: u64,
    },
    Random {
        gaps: Gaps,
        random: Random,
        elapsed_s: f64,
    },
    Intervals {
        gaps_ns: Vec<u64>,
        n: usize,
        elapsed_ns: u64,
    },
    Replay {
        offsets_ns: std::vec::IntoIter<u64>,
    },
}

enum Gaps {
    Exponential { rate: f64 },
    Gamma { shape: f64, scale: f64 },
}

impl Sequence {
    fn new(arrivals: &Arrivals, seed: u64) -> Sequence {
        let random = |gaps| Sequence::Random { gaps, random: Random::new(seed, u64::MAX), elapsed_s: 0.0 };
        match arrivals {
            Arrivals::Constant { rate } => Sequence::Constant { rate: *rate, n: 0 },
            Arrivals::Poisson { rate } => random(Gaps::Exponential { rate: *rate }),
            Arrivals::Gamma { rate, cv } => random(Gaps::Gamma { shape: 1.0 / (cv * cv), scale: cv * cv / rate }),
            Arrivals::Intervals { gaps_ns } => Sequence::Intervals { gaps_ns: gaps_ns.clone(), n: 0, elapsed_ns: 0 },
            Arrivals::Replay { offsets_ns } => Sequence::Replay { offsets_ns: offsets_ns.clone().into_iter() },
        }
    }

    fn next(&mut self) -> Option<u64> {
        match self {
            Sequence::Constant { rate, n } => {
                let offset = *n as f64 * 1e9 / *rate;
                *n += 1;
                Some(offset as u64)
            }
            Sequence::Random { gaps, random, elapsed_s } => {
                *elapsed_s += gaps.draw(random);
                Some((*elapsed_s * 1e9) as u64)
            }
            Sequence::Intervals { gaps_ns, n, elapsed_ns } => {
                let offset = *elapsed_ns;
                *elapsed_ns = elapsed_ns.saturating_add(gaps_ns[*n % gaps_ns.len()]);
                *n += 1;
                Some(offset)
            }
            Sequence::Replay { offsets_ns } => offsets_ns.next(),
        }
    }
}

impl Gaps {
    fn draw(&self, random: &mut Random) -> f64 {
        match *self {
            Gaps::Exponential { rate } => random.exponential() / rate,
            Gaps::Gamma { shape, scale } => gamma(random, shape) * scale,
        }
    }
}

/// Gamma with scale 1: Marsaglia and Tsang (2000), with their boost for shapes below 1.
fn gamma(random: &mut Random, shape: f64) -> f64 {
    if shape < 1.0 {
        return gamma(random, shape + 1.0) * random.unit().powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(random);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && random.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// Box-Muller; the second value is thrown away, which is simpler than keeping it.
fn normal(random: &mut Random) -> f64 {
    (2.0 * random.exponential()).sqrt() * (std::f64::consts::TAU * random.unit()).cos()
}

#[cfg(test)]
mod tests;
