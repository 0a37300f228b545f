//! Queues with known answers, through the real drive loop in virtual time: nothing waits and nothing is noisy.

use _engine::drive::{Ended, Extras, Job, Signals, drive, drive_with};
use _engine::error::{Code, Failure};
use _engine::histogram::bucket_bounds;
use _engine::payload::Draw;
use _engine::plan::{self, Arrivals, Order};
use _engine::random::Random;
use _engine::recorder::{Slice, WorkerSlice};
use _engine::schedule::{Schedule, Shared};
use _engine::transport::{Clock, Event, Traffic, Transport};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

const SECOND: u64 = 1_000_000_000;

#[derive(Clone, Default)]
struct VirtualClock(Rc<Cell<u64>>);

impl Clock for VirtualClock {
    fn now(&self) -> u64 {
        self.0.get()
    }

    fn cpu(&self) -> u64 {
        0
    }
}

type Outcome = Result<(), Failure>;

/// First come, first served; waiting moves the clock.
struct Queue<F: FnMut(u64) -> (u64, Outcome)> {
    clock: VirtualClock,
    free_at: BinaryHeap<Reverse<u64>>,
    done: Vec<(u64, u32, Outcome)>,
    /// When a request begun at this time is done, and how.
    service: F,
    submitted: Vec<u32>,
}

impl<F: FnMut(u64) -> (u64, Outcome)> Transport for Queue<F> {
    fn submit(&mut self, token: u32, _payload: u32) {
        self.submitted.push(token);
    }

    fn cancel(&mut self, token: u32) {
        self.done.retain(|(_, done, _)| *done != token);
    }

    fn poll(&mut self, clock: &impl Clock, until: u64, events: &mut Vec<Event>) {
        for token in self.submitted.drain(..) {
            let Reverse(free) = self.free_at.pop().expect("a server");
            let (done, outcome) = (self.service)(free.max(clock.now()));
            self.free_at.push(Reverse(done));
            self.done.push((done, token, outcome));
        }
        let next = self.done.iter().map(|(at, ..)| *at).min().unwrap_or(u64::MAX);
        self.clock.0.set(next.min(until).max(clock.now()));
        let now = self.clock.now();
        let (due, later) = std::mem::take(&mut self.done).into_iter().partition(|(at, ..)| *at <= now);
        self.done = later;
        let due: Vec<_> = due;
        events.extend(due.into_iter().map(|(at, token, outcome)| Event::Done { token, at, outcome }));
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

struct Run {
    ended: Ended,
    slices: Vec<Slice>,
}

impl Run {
    fn ok(&self) -> u64 {
        self.slices.iter().map(|s| s.ok).sum()
    }

    fn mean_s(&self) -> f64 {
        self.slices.iter().map(|s| s.latency_sum_ns).sum::<u64>() as f64 / self.ok() as f64 / SECOND as f64
    }

    fn quantile_s(&self, q: f64, of: impl Fn(&Slice) -> &Vec<(u32, u64)>) -> f64 {
        let mut counts = std::collections::BTreeMap::new();
        for (index, count) in self.slices.iter().flat_map(&of) {
            *counts.entry(*index).or_insert(0) += count;
        }
        let mut rank = (q * self.ok() as f64).ceil() as u64;
        for (index, count) in counts {
            if count >= rank {
                return bucket_bounds(index as usize).1 as f64 / SECOND as f64;
            }
            rank -= count;
        }
        panic!("an empty histogram")
    }
}

#[derive(Clone)]
struct Setup {
    schedule: plan::Schedule,
    seed: u64,
    servers: usize,
    max_requests: Option<u64>,
    max_duration_ns: Option<u64>,
    request_timeout_ns: u64,
}

fn closed(concurrency: usize) -> Setup {
    let schedule = plan::Schedule::Closed(plan::Closed { concurrency });
    let (max_requests, max_duration_ns) = (None, Some(20 * SECOND));
    Setup { schedule, seed: 0, servers: 1, max_requests, max_duration_ns, request_timeout_ns: 1000 * SECOND }
}

fn open(arrivals: Arrivals, requests: u64, seed: u64) -> Setup {
    let schedule = plan::Schedule::Open(plan::Open { arrivals, max_in_flight: 100_000 });
    Setup { schedule, seed, max_requests: Some(requests), max_duration_ns: None, ..closed(1) }
}

fn simulate(setup: &Setup, service: impl FnMut(u64) -> (u64, Outcome)) -> Run {
    let clock = VirtualClock::default();
    let free_at = (0..setup.servers).map(|_| Reverse(0)).collect();
    let mut queue = Queue { clock: clock.clone(), free_at, done: Vec::new(), service, submitted: Vec::new() };
    let job = Job {
        schedule: Schedule::share(&setup.schedule, setup.seed, 0, 1, &Shared::new(&setup.schedule)),
        draw: Draw::new(Order::RoundRobin, 1, 0, 0, 1),
        start: 0,
        slice_ns: SECOND / 10,
        max_requests: setup.max_requests,
        max_duration_ns: setup.max_duration_ns,
        request_timeout_ns: setup.request_timeout_ns,
        drain_timeout_ns: 100 * SECOND,
        signals: &Signals::default(),
    };
    let mut slices = Vec::new();
    let ended = drive(job, &mut queue, &clock, |closed: WorkerSlice| slices.push(closed.slice));
    Run { ended, slices }
}

fn always(service_ns: u64) -> impl FnMut(u64) -> (u64, Outcome) {
    move |begun| (begun + service_ns, Ok(()))
}

fn near(got: f64, expected: f64, tolerance: f64) {
    assert!((got / expected - 1.0).abs() <= tolerance, "expected {expected} within {tolerance}, got {got}");
}

#[test]
fn constant_service_in_a_closed_loop() {
    let service = SECOND / 100;
    for (servers, concurrency) in [(1, 1), (1, 8), (4, 4), (4, 10), (64, 64)] {
        let run = simulate(&Setup { servers, ..closed(concurrency) }, always(service));
        let busy = servers.min(concurrency) as f64;
        near(run.ok() as f64 / (run.ended.ended_ns as f64 / 1e9), busy * 100.0, 0.01);
        let latency = 0.01 * (concurrency as f64 / servers as f64).max(1.0);
        near(run.mean_s(), latency, 0.01);
        near(run.quantile_s(0.5, |s| &s.latency), latency, 0.26);
        assert_eq!(run.ended.stopped_ns, 20 * SECOND);
    }
}

#[test]
fn littles_law_is_exact_in_every_run() {
    let mut random = Random::new(4, 0);
    let service = |begun| (begun + (random.exponential() * 5e6) as u64, Ok(()));
    let run = simulate(&Setup { servers: 3, ..closed(9) }, service);
    let integral: u64 = run.slices.iter().map(|s| s.in_flight_ns).sum();
    assert_eq!(integral, run.slices.iter().map(|s| s.latency_sum_ns).sum::<u64>());
}

#[test]
fn constant_arrivals_and_a_faster_server_never_wait() {
    let run = simulate(&open(Arrivals::Constant { rate: 100.0 }, 1000, 0), always(SECOND / 200));
    near(run.quantile_s(1.0, |s| &s.latency), 0.005, 0.001);
    assert_eq!((run.ok(), run.ended.ended_ns), (1000, 999 * SECOND / 100 + SECOND / 200));
}

/// Mean and percentiles of independent runs: the average over the seeds must hit the closed form, and as many runs as
/// a 95 % interval promises must have it inside theirs.
fn replicate(exact: [f64; 4], bias: f64, mut run: impl FnMut(u64) -> Run) {
    const RUNS: u64 = 20;
    let estimates: Vec<[f64; 4]> = (0..RUNS)
        .map(|seed| {
            let run = run(seed);
            let quantile = |q| run.quantile_s(q, |s| &s.latency) * 1e3;
            [run.mean_s() * 1e3, quantile(0.5), quantile(0.95), quantile(0.99)]
        })
        .collect();
    for (column, exact) in exact.into_iter().enumerate() {
        let values: Vec<f64> = estimates.iter().map(|row| row[column]).collect();
        let mean = values.iter().sum::<f64>() / RUNS as f64;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (RUNS - 1) as f64).sqrt();
        // Student's t at 97.5 % and 19 degrees of freedom for a single run, with the width of a bucket; at 99.95 % for the
        // mean of all.
        let inside = values.iter().filter(|v| (*v - exact).abs() <= 2.093 * deviation + 0.001 * exact).count();
        assert!(inside * 10 >= RUNS as usize * 9, "{inside} of {RUNS} runs near {exact}");
        let noise = 3.883 * deviation / (RUNS as f64).sqrt();
        assert!((mean - exact).abs() <= (bias * exact).max(noise), "{mean} for {exact}, noise {noise}");
        assert!(noise <= 0.12 * exact, "the test could not fail: noise {noise} of {exact}");
    }
}

#[test]
fn m_d_1_has_the_exact_mean_and_percentiles() {
    // Load, then mean, p50, p95, p99 of the time in system, in units of the service time (Erlang's exact distribution).
    for (load, exact, requests) in [
        (0.5, [1.5, 1.0, 3.051, 4.336], 50_000),
        (0.7, [2.167, 1.73, 5.103, 7.485], 50_000),
        (0.8, [3.0, 2.276, 7.62, 11.356], 100_000),
        (0.9, [5.5, 4.013, 15.13, 22.90], 200_000),
    ] {
        replicate(exact, 0.01, |seed| {
            simulate(&open(Arrivals::Poisson { rate: load * 1000.0 }, requests, seed), always(SECOND / 1000))
        });
    }
}

#[test]
fn m_m_1_has_the_exact_mean_and_percentiles() {
    for (load, requests) in [(0.5, 50_000), (0.7, 50_000), (0.8, 100_000), (0.9, 200_000)] {
        let mean = 1.0 / (1.0 - load);
        let exact = [mean, mean * 2f64.ln(), mean * 20f64.ln(), mean * 100f64.ln()];
        replicate(exact, 0.01, |seed| {
            let mut random = Random::new(seed, 7);
            let service = move |begun| (begun + (random.exponential() * 1e6) as u64, Ok(()));
            simulate(&open(Arrivals::Poisson { rate: load * 1000.0 }, requests, seed), service)
        });
    }
}

#[test]
fn m_m_c_has_the_exact_means() {
    for (servers, load, mean, p95) in
        [(2, 0.5, 1.333, 3.816), (2, 0.8, 2.778, 7.911), (4, 0.5, 1.087, 3.15), (4, 0.8, 1.7455, 4.738)]
    {
        let mut random = Random::new(7, 7);
        let service = |begun| (begun + (random.exponential() * 1e6) as u64, Ok(()));
        let setup = Setup { servers, ..open(Arrivals::Poisson { rate: load * servers as f64 * 1000.0 }, 500_000, 3) };
        let run = simulate(&setup, service);
        near(run.mean_s() * 1e3, mean, 0.03);
        near(run.quantile_s(0.95, |s| &s.latency) * 1e3, p95, 0.04);
    }
}

/// Frozen for the first second of every ten, otherwise instant: what is sent in the stall waits for its end.
fn frozen(begun: u64) -> (u64, Outcome) {
    let phase = begun % (10 * SECOND);
    (if phase < SECOND { begun - phase + SECOND } else { begun + 1000 }, Ok(()))
}

#[test]
fn a_stall_shows_in_the_latency_of_an_open_load() {
    let arrivals = [
        (Arrivals::Constant { rate: 50.0 }, 50_000, 0.03),
        (Arrivals::Constant { rate: 500.0 }, 50_000, 0.03),
        // 12 000 s: chance moves the p95 of fewer Poisson arrivals by more than the tolerance.
        (Arrivals::Poisson { rate: 50.0 }, 600_000, 0.03),
    ];
    for (arrivals, requests, tolerance) in arrivals {
        let run = simulate(&Setup { servers: 10_000, ..open(arrivals, requests, 0) }, frozen);
        near(run.mean_s(), 0.05, tolerance);
        near(run.quantile_s(0.95, |s| &s.latency), 0.5, tolerance);
        near(run.quantile_s(0.99, |s| &s.latency), 0.9, tolerance);
        near(run.quantile_s(0.999, |s| &s.latency), 0.99, tolerance);
    }
}

#[test]
fn a_closed_loop_does_not_see_the_stall() {
    let run = simulate(&Setup { max_duration_ns: Some(20 * SECOND), ..closed(1) }, frozen);
    assert!(run.quantile_s(0.99, |s| &s.latency) < 0.001, "99 % of its requests never met the stall");
    assert!(run.slices.iter().any(|s| s.latency_max_ns >= SECOND * 9 / 10));
}

#[test]
fn a_periodic_load_climbs_its_steps_and_ends() {
    let schedule = plan::Schedule::Periodic(plan::Periodic { start: 2, end: 8, step: 3, request_period: 10 });
    let setup = Setup { schedule, servers: 100, max_duration_ns: None, ..closed(1) };
    let run = simulate(&setup, always(SECOND / 20));
    // Three steps of ten answers each in 50 ms: 2, 5 and 8 in flight for half a second.
    let peaks: Vec<u64> = run.slices.chunks_exact(5).map(|part| part[3].in_flight).collect();
    assert_eq!((peaks, run.ok()), (vec![2, 5, 8], 10 * (2 + 5 + 8)));
    assert_eq!(run.ended.stopped_ns, 3 * SECOND / 2);
}

#[test]
fn an_overloaded_open_load_drops_what_it_may_not_send() {
    let mut setup = open(Arrivals::Constant { rate: 200.0 }, 2000, 0);
    setup.schedule =
        plan::Schedule::Open(plan::Open { arrivals: Arrivals::Constant { rate: 200.0 }, max_in_flight: 5 });
    let run = simulate(&setup, always(SECOND / 100));
    let dropped: u64 = run.slices.iter().map(|s| s.dropped).sum();
    assert_eq!(run.ok() + dropped, 2000);
    near(dropped as f64, 1000.0, 0.01);
    assert!(run.slices.iter().all(|s| s.in_flight <= 5));
}

#[test]
fn failures_and_timeouts_are_counted_and_never_timed() {
    let mut n = 0;
    let service = |begun| {
        n += 1;
        match n % 10 {
            0 => (begun + 1000, Err(Failure::new(Code::UNAVAILABLE, "busy"))),
            5 => (begun + 2 * SECOND, Ok(())),
            _ => (begun + SECOND / 100, Ok(())),
        }
    };
    let setup =
        Setup { max_requests: Some(1000), max_duration_ns: None, request_timeout_ns: SECOND, servers: 4, ..closed(4) };
    let run = simulate(&setup, service);
    let failed = |code| run.slices.iter().filter_map(|s| s.failed.get(&code)).sum::<u64>();
    assert_eq!((run.ok() + failed(Code::UNAVAILABLE) + failed(Code::Timeout), run.ended.unfinished), (1000, 0));
    assert_eq!(failed(Code::UNAVAILABLE), 100);
    assert!(failed(Code::Timeout) >= 100);
    assert!(run.quantile_s(1.0, |s| &s.latency) <= 1.001, "the slowest answer in time, within a bucket");
}

#[test]
fn a_replay_ends_by_itself_and_slices_tile_the_time() {
    let setup =
        Setup { max_requests: None, ..open(Arrivals::Replay { offsets_ns: vec![0, SECOND / 4, SECOND] }, 1, 0) };
    let run = simulate(&setup, always(SECOND / 20));
    assert_eq!((run.ok(), run.ended.stopped_ns, run.ended.ended_ns), (3, SECOND, SECOND + SECOND / 20));
    for (number, slice) in run.slices.iter().enumerate() {
        assert_eq!(slice.start_ns, number as u64 * SECOND / 10);
    }
    assert_eq!(run.slices.len(), 11);
}

/// Answers at once; a look that waits for nothing takes a microsecond.
struct Looking {
    clock: VirtualClock,
    submitted: Vec<u32>,
    /// Until when it was told to sleep.
    slept_until: Vec<u64>,
}

impl Transport for Looking {
    fn submit(&mut self, token: u32, _payload: u32) {
        self.submitted.push(token);
    }

    fn cancel(&mut self, _token: u32) {}

    fn poll(&mut self, clock: &impl Clock, until: u64, events: &mut Vec<Event>) {
        let at = clock.now();
        events.extend(self.submitted.drain(..).map(|token| Event::Done { token, at, outcome: Ok(()) }));
        let sleeps = events.is_empty() && until > at;
        self.slept_until.extend(sleeps.then_some(until));
        self.clock.0.set(if sleeps { until } else { at + 1000 });
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

#[test]
fn a_worker_is_awake_before_a_request_is_due_and_sends_it_no_earlier() {
    const GAP: u64 = 1_000_000;
    const EARLY: u64 = 50_000;
    let clock = VirtualClock::default();
    let schedule = plan::Schedule::Open(plan::Open { arrivals: Arrivals::Constant { rate: 1e3 }, max_in_flight: 9 });
    let job = Job {
        schedule: Schedule::share(&schedule, 0, 0, 1, &Shared::new(&schedule)),
        draw: Draw::new(Order::RoundRobin, 1, 0, 0, 1),
        start: 0,
        slice_ns: SECOND,
        max_requests: Some(20),
        max_duration_ns: None,
        request_timeout_ns: SECOND,
        drain_timeout_ns: SECOND,
        signals: &Signals::default(),
    };
    let mut transport = Looking { clock: clock.clone(), submitted: Vec::new(), slept_until: Vec::new() };
    let mut slices = Vec::new();
    let extras = Extras { early_ns: EARLY, ..Extras::default() };
    drive_with(job, extras, &mut transport, &clock, |closed| slices.push(closed.slice));
    assert_eq!(transport.slept_until, (1..20).map(|n| n * GAP - EARLY).collect::<Vec<_>>());
    let lags: Vec<(u32, u64)> = slices.iter().flat_map(|slice| slice.send_lag.clone()).collect();
    assert_eq!(lags, [(0, 20)], "all of them at the nanosecond");
}
