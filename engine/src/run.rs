//! A whole run: start the workers, merge what they hand over, stop them and wait for them, whatever happens.

use crate::check::Checker;
use crate::drive::{Ended, Extras, Job, Signals, drive_with};
use crate::error::{Code, Error};
use crate::grpc::Grpc;
use crate::http::Http;
use crate::http2::connection::Manner;
use crate::null::Null;
use crate::payload::{Draw, Pool};
use crate::plan::{self, Plan};
use crate::recorder::{Slice, WorkerSlice};
use crate::schedule::{Schedule, Shared};
use crate::scheduling;
use crate::sequences::Sequences;
use crate::spread::Spread;
use crate::transport::{Clock, Transport};
use crate::{grpc, http};
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the caller is asked whether it wants to be interrupted where no slices come, each of which asks, too. A
/// little more than the usual slice: waking twice for each would cost as much as a small load itself.
const PULSE: Duration = Duration::from_millis(120);

/// Progress: what closed since the last tick, and totals.
#[derive(Debug, Default)]
pub struct Tick {
    pub elapsed_ns: u64,
    pub slices: Vec<Slice>,
    pub sent: u64,
    pub ok: u64,
    pub failed: u64,
    pub in_flight: u64,
}

#[derive(Debug, Default)]
pub struct LoadResult {
    pub started_unix_ns: u64,
    pub elapsed_ns: u64,
    /// Those that no tick has taken.
    pub slices: Vec<Slice>,
    pub stopped_ns: u64,
    pub sent: u64,
    pub ok: u64,
    pub failed: BTreeMap<Code, u64>,
    pub dropped: u64,
    pub unfinished: u64,
    pub examples: BTreeMap<Code, String>,
    pub reconnects: u64,
    pub workers: usize,
}

/// How a load goes on after a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    GoOn,
    Stop,
    /// Keep another number of requests in flight; an open loop goes on as it is.
    Concurrency(usize),
}

/// What the caller of `run` decides while it goes on; an error ends the run and comes back as it is.
pub trait Watcher {
    type Error: From<Error>;
    /// False if nobody wants ticks: all slices are then in the result.
    fn wants_ticks(&self) -> bool;
    fn tick(&mut self, tick: Tick) -> Result<Wish, Self::Error>;
    /// Called several times a second.
    fn interrupted(&mut self) -> Result<(), Self::Error>;
}

/// The machine's monotonic clock, counted from a moment that all workers of a run share.
#[derive(Clone, Copy)]
pub struct SystemClock {
    epoch: Instant,
}

impl SystemClock {
    pub fn start() -> SystemClock {
        SystemClock { epoch: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn cpu(&self) -> u64 {
        let used = clock_gettime(ClockId::ThreadCPUTime);
        used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64
    }
}

enum Message {
    Connected(Result<(), Error>),
    Closed(usize, WorkerSlice),
    Ended(usize, Ended),
}

/// Keep the planned load until the plan ends or the watcher stops it.
pub fn run<W: Watcher>(plan: &Plan, pool: Arc<Pool>, watcher: &mut W) -> Result<LoadResult, W::Error> {
    run_checked(plan, pool, None, watcher)
}

/// As `run`, with the expected answer of each payload where the plan says to compare.
pub fn run_checked<W: Watcher>(
    plan: &Plan,
    pool: Arc<Pool>,
    expected: Option<Arc<Pool>>,
    watcher: &mut W,
) -> Result<LoadResult, W::Error> {
    plan.check_pool(pool.len())?;
    let manner = manner(plan, &pool, expected)?;
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let workers = plan.worker_count(cpus);
    let target = Target::resolve(plan, workers)?;
    let signals = Signals::default();
    let shared = Shared::new(&plan.schedule);
    let clock = SystemClock::start();
    let crew = Crew { plan, pool: &pool, target: &target, manner, signals: &signals, shared: &shared, workers, clock };
    thread::scope(|scope| {
        // Whatever leaves this scope, an error or a panic of the watcher included, ends the workers first.
        let _abort = AbortOnDrop(&signals);
        let (sender, messages) = channel();
        let (mut starts, mut threads) = (Vec::new(), Vec::new());
        for worker in 0..workers {
            let (start, wait_for_start) = channel();
            let (crew, sender) = (&crew, sender.clone());
            let thread = thread::Builder::new().name(format!("load-{worker}"));
            let body = move || crew.work(worker, &wait_for_start, &sender);
            threads.push(thread.spawn_scoped(scope, body).map_err(Error::system("start a worker thread"))?);
            starts.push(start);
        }
        drop(sender);
        let outcome = Conductor::new(workers, &signals, &shared, watcher).conduct(&messages, starts, crew.clock);
        signals.abort();
        // The scope alone would wait for the work to be over, but not for the threads to be gone.
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        outcome
    })
}

fn manner(plan: &Plan, pool: &Pool, expected: Option<Arc<Pool>>) -> Result<Manner, Error> {
    let checker = match (&plan.validate, expected) {
        (None, _) => None,
        (Some(validate), Some(expected)) if expected.len() * slots(validate) == pool.len() => {
            Some(Checker::new(expected, validate))
        }
        (Some(_), expected) => {
            let got = expected.map_or(0, |expected| expected.len());
            let message = format!("expected an answer for each of {} payloads, got {got}", pool.len());
            return Err(Error::Plan { path: "validate".to_owned(), message });
        }
    };
    let streaming = matches!(&plan.transport, plan::Transport::Grpc(grpc) if grpc.streaming);
    Ok(Manner { streaming, checker: checker.map(Arc::new) })
}

/// How often the expected answers are repeated in the pool.
fn slots(validate: &plan::Validate) -> usize {
    validate.shared.as_ref().map_or(1, |shared| shared.regions.len())
}

/// Where the requests go: every endpoint with its weight.
enum Target {
    Grpc(Vec<(grpc::Target, u32)>),
    Http(Vec<(http::Target, u32)>),
    Null,
}

impl Target {
    fn resolve(plan: &Plan, workers: usize) -> Result<Target, Error> {
        let timeout = plan.connect_timeout_ns;
        match &plan.transport {
            plan::Transport::Grpc(grpc) => {
                let connections = plan.grpc_connections(grpc, workers)?;
                let resolve = |endpoint: &str| grpc::Target::resolve(grpc, endpoint, connections, timeout);
                Ok(Target::Grpc(each(&grpc.endpoint, grpc.weight, &grpc.others, resolve)?))
            }
            plan::Transport::Http(http) => {
                let initial = plan.first_connections().div_ceil(workers * (1 + http.others.len()));
                let in_sequences = plan.sequences.is_some();
                let resolve = |endpoint: &str| http::Target::resolve(http, endpoint, initial, timeout, in_sequences);
                Ok(Target::Http(each(&http.endpoint, http.weight, &http.others, resolve)?))
            }
            plan::Transport::Null(_) => Ok(Target::Null),
        }
    }
}

fn each<T>(
    endpoint: &str,
    weight: u32,
    others: &[plan::Weighted],
    resolve: impl Fn(&str) -> Result<T, Error>,
) -> Result<Vec<(T, u32)>, Error> {
    let others = others.iter().map(|other| (&*other.endpoint, other.weight));
    std::iter::once((endpoint, weight)).chain(others).map(|(e, weight)| Ok((resolve(e)?, weight))).collect()
}

struct AbortOnDrop<'a>(&'a Signals);

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What all workers have in common.
struct Crew<'a> {
    plan: &'a Plan,
    pool: &'a Arc<Pool>,
    target: &'a Target,
    manner: Manner,
    signals: &'a Signals,
    shared: &'a Arc<Shared>,
    workers: usize,
    clock: SystemClock,
}

impl Crew<'_> {
    /// The life of a worker thread: connect, wait for the common start, drive, say goodbye.
    fn work(&self, worker: usize, start: &Receiver<u64>, sender: &Sender<Message>) {
        self.pin(worker);
        // By default the kernel may wake a thread 50 microseconds late, to save energy.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        if matches!(self.plan.schedule, plan::Schedule::Open(_)) {
            // Where the kernel refuses, sends are as punctual as it lets them be; their lag says so.
            let _ = scheduling::ask_for_short_slices();
        }
        let go_on = || !self.signals.is_set();
        let connected = match self.target {
            Target::Grpc(targets) => {
                let connect =
                    |target| Grpc::connect_with(target, self.manner.clone(), self.pool.clone(), &self.clock, go_on);
                self.drive_all(worker, targets, connect, start, sender)
            }
            Target::Http(targets) => {
                let checker = &self.manner.checker;
                let connect =
                    |target| Http::connect_with(target, checker.clone(), self.pool.clone(), &self.clock, go_on);
                self.drive_all(worker, targets, connect, start, sender)
            }
            Target::Null => self.drive(worker, Null::default(), start, sender),
        };
        if let Err(error) = connected {
            let _ = sender.send(Message::Connected(Err(error)));
        }
    }

    /// Connect to every endpoint and drive; one alone needs nothing to choose between.
    fn drive_all<T: Clone, C: Transport + AsRawFd>(
        &self,
        worker: usize,
        targets: &[(T, u32)],
        connect: impl Fn(T) -> Result<C, Error>,
        start: &Receiver<u64>,
        sender: &Sender<Message>,
    ) -> Result<(), Error> {
        if let [(target, _)] = targets {
            return self.drive(worker, connect(target.clone())?, start, sender);
        }
        let members = targets.iter().map(|(target, weight)| Ok((connect(target.clone())?, *weight)));
        let spread = Spread::new(members.collect::<Result<Vec<_>, Error>>()?)?;
        self.drive(worker, spread, start, sender)
    }

    fn pin(&self, worker: usize) {
        let cpus = &self.plan.pin_cpus;
        if let Some(&cpu) = cpus.get(worker % cpus.len().max(1)) {
            let mut set = CpuSet::new();
            set.set(cpu);
            // A machine without that processor runs the load unpinned, as the scheduler likes.
            let _ = sched_setaffinity(None, &set);
        }
    }

    fn drive(
        &self,
        worker: usize,
        mut transport: impl Transport,
        start: &Receiver<u64>,
        sender: &Sender<Message>,
    ) -> Result<(), Error> {
        // Sending fails only when the conductor has left; then nobody waits for this worker either.
        let _ = sender.send(Message::Connected(Ok(())));
        let Ok(start) = start.recv() else { return Ok(()) };
        let plan = self.plan;
        let job = Job {
            schedule: Schedule::share(&plan.schedule, plan.seed, worker, self.workers, self.shared),
            draw: Draw::of(plan, self.pool.len(), worker, self.workers),
            start,
            slice_ns: plan.slice_ns,
            max_requests: plan.max_requests,
            max_duration_ns: plan.max_duration_ns,
            request_timeout_ns: plan.request_timeout_ns,
            drain_timeout_ns: plan.drain_timeout_ns,
            signals: self.signals,
        };
        let hand_over = |slice| drop(sender.send(Message::Closed(worker, slice)));
        let extras = Extras {
            sequences: plan
                .sequences
                .as_ref()
                .map(|s| Sequences::share(s, &plan.data_streams, plan.seed, worker, self.workers)),
            records: plan.records,
            streaming: self.manner.streaming,
            worker: worker as u16,
            early_ns: plan.early_ns(),
        };
        let ended = drive_with(job, extras, &mut transport, &self.clock, hand_over);
        let _ = sender.send(Message::Ended(worker, ended));
        Ok(())
    }
}

/// The calling thread's side of a run.
struct Conductor<'a, W: Watcher> {
    signals: &'a Signals,
    shared: &'a Shared,
    watcher: &'a mut W,
    /// Per worker: slices handed over but not merged, and how it ended.
    pending: Vec<VecDeque<WorkerSlice>>,
    ended: Vec<Option<Ended>>,
    number: u64,
    fresh: Vec<Slice>,
    result: LoadResult,
}

impl<'a, W: Watcher> Conductor<'a, W> {
    fn new(workers: usize, signals: &'a Signals, shared: &'a Shared, watcher: &'a mut W) -> Conductor<'a, W> {
        Conductor {
            signals,
            shared,
            watcher,
            pending: (0..workers).map(|_| VecDeque::new()).collect(),
            ended: vec![None; workers],
            number: 0,
            fresh: Vec::new(),
            result: LoadResult { workers, ..LoadResult::default() },
        }
    }

    fn conduct(
        mut self,
        messages: &Receiver<Message>,
        starts: Vec<Sender<u64>>,
        clock: SystemClock,
    ) -> Result<LoadResult, W::Error> {
        self.wait_for_connections(messages, starts.len())?;
        self.result.started_unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64);
        let start = clock.now();
        for worker in starts {
            let _ = worker.send(start);
        }
        while self.ended.contains(&None) {
            match self.receive(messages)? {
                Some(Message::Closed(worker, slice)) => self.pending[worker].push_back(slice),
                Some(Message::Ended(worker, ended)) => self.ended[worker] = Some(ended),
                Some(Message::Connected(_)) | None => continue,
            }
            self.merge();
            self.tick()?;
        }
        Ok(self.finish())
    }

    fn wait_for_connections(&mut self, messages: &Receiver<Message>, workers: usize) -> Result<(), W::Error> {
        let mut connected = 0;
        while connected < workers {
            if let Some(Message::Connected(outcome)) = self.receive(messages)? {
                outcome?;
                connected += 1;
            }
        }
        Ok(())
    }

    fn receive(&mut self, messages: &Receiver<Message>) -> Result<Option<Message>, W::Error> {
        self.watcher.interrupted()?;
        match messages.recv_timeout(PULSE) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let reason = "a worker ended without a word".to_owned();
                Err(Error::System { action: "go on", reason }.into())
            }
        }
    }

    /// Merge the slices that every worker still running has handed over.
    fn merge(&mut self) {
        while self.pending.iter().zip(&self.ended).all(|(pending, ended)| !pending.is_empty() || ended.is_some()) {
            let number = self.number;
            // A worker that ended early has nothing more; what the others have goes on alone.
            let is_next = |pending: &VecDeque<WorkerSlice>| pending.front().is_some_and(|part| part.number == number);
            let with_part = self.pending.iter_mut().filter(|pending| is_next(pending));
            let parts: Vec<WorkerSlice> = with_part.filter_map(VecDeque::pop_front).collect();
            let Some(slice) = self.join(parts) else { return };
            self.number += 1;
            self.count(&slice);
            self.fresh.push(slice);
        }
    }

    fn join(&mut self, parts: Vec<WorkerSlice>) -> Option<Slice> {
        let mut slices = Vec::with_capacity(parts.len());
        for part in parts {
            for failure in part.examples {
                self.result.examples.entry(failure.code).or_insert(failure.message);
            }
            slices.push(part.slice);
        }
        slices.into_iter().reduce(|mut all, slice| {
            all.absorb(slice);
            all
        })
    }

    fn count(&mut self, slice: &Slice) {
        self.result.sent += slice.sent;
        self.result.ok += slice.ok;
        self.result.dropped += slice.dropped;
        for (code, count) in &slice.failed {
            *self.result.failed.entry(*code).or_default() += count;
        }
    }

    fn tick(&mut self) -> Result<(), W::Error> {
        if self.fresh.is_empty() || !self.watcher.wants_ticks() || !self.ended.contains(&None) {
            return Ok(());
        }
        let slices = std::mem::take(&mut self.fresh);
        let last = slices.last();
        let tick = Tick {
            elapsed_ns: last.map_or(0, |slice| slice.end_ns),
            sent: self.result.sent,
            ok: self.result.ok,
            failed: self.result.failed.values().sum(),
            in_flight: last.map_or(0, |slice| slice.in_flight),
            slices,
        };
        match self.watcher.tick(tick)? {
            Wish::GoOn => {}
            Wish::Stop => self.signals.stop(),
            Wish::Concurrency(concurrency) => self.shared.set_concurrency(concurrency),
        }
        Ok(())
    }

    fn finish(mut self) -> LoadResult {
        for ended in self.ended.iter().flatten() {
            self.result.elapsed_ns = self.result.elapsed_ns.max(ended.ended_ns);
            self.result.stopped_ns = self.result.stopped_ns.max(ended.stopped_ns);
            self.result.unfinished += ended.unfinished;
            self.result.reconnects += ended.reconnects;
        }
        self.result.slices = self.fresh;
        self.result
    }
}
