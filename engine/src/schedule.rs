//! When requests are meant to be sent, as a value: no clock, no sleeping, no sockets.

use crate::plan::{self, Arrivals};
use crate::random::Random;

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

/// One worker's share of the schedule; offsets count from the start of the run.
pub enum Schedule {
    Closed { concurrency: usize },
    Open { offsets: Box<Offsets>, next_ns: Option<u64>, max_in_flight: usize },
}

impl Schedule {
    pub fn share(plan: &plan::Schedule, seed: u64, worker: usize, workers: usize) -> Schedule {
        match plan {
            plan::Schedule::Closed(closed) => {
                Schedule::Closed { concurrency: part(closed.concurrency, worker, workers) }
            }
            plan::Schedule::Open(open) => {
                let mut offsets = Box::new(Offsets::share(&open.arrivals, seed, worker, workers));
                let next_ns = offsets.next();
                Schedule::Open { offsets, next_ns, max_in_flight: part(open.max_in_flight, worker, workers) }
            }
        }
    }

    /// What to do at `now_ns` with `in_flight` requests out. A late request is still sent, at its lag: a schedule that
    /// was missed is not forgotten.
    #[inline]
    pub fn step(&mut self, now_ns: u64, in_flight: usize) -> Step {
        match self {
            Schedule::Closed { concurrency } if in_flight < *concurrency => Step::Send { intended_ns: now_ns },
            Schedule::Closed { .. } => Step::Wait { until_ns: u64::MAX },
            Schedule::Open { offsets, next_ns, max_in_flight } => match *next_ns {
                None => Step::End,
                Some(until_ns) if until_ns > now_ns => Step::Wait { until_ns },
                Some(intended_ns) => {
                    *next_ns = offsets.next();
                    if in_flight < *max_in_flight { Step::Send { intended_ns } } else { Step::Drop }
                }
            },
        }
    }
}

/// Fair share of `total` for one of `workers`.
pub fn part(total: usize, worker: usize, workers: usize) -> usize {
    total * (worker + 1) / workers - total * worker / workers
}

/// Ascending send offsets of one worker: of all requests n, those with n mod workers = worker.
pub struct Offsets {
    all: Sequence,
    skip: usize,
}

impl Offsets {
    /// Every worker walks the whole sequence, so the schedule does not depend on how many workers there are.
    pub fn share(arrivals: &Arrivals, seed: u64, worker: usize, workers: usize) -> Offsets {
        let mut all = Sequence::new(arrivals, seed);
        for _ in 0..worker {
            all.next();
        }
        Offsets { all, skip: workers - 1 }
    }
}

impl Iterator for Offsets {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let offset = self.all.next();
        for _ in 0..self.skip {
            self.all.next();
        }
        offset
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
mod tests {
    use super::*;

    fn offsets(arrivals: &Arrivals, seed: u64, count: usize) -> Vec<u64> {
        Offsets::share(arrivals, seed, 0, 1).take(count).collect()
    }

    fn gaps_s(arrivals: &Arrivals, seed: u64, count: usize) -> Vec<f64> {
        offsets(arrivals, seed, count + 1).windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).collect()
    }

    fn mean_and_cv(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn closed_sends_whenever_a_slot_is_free() {
        let mut schedule = Schedule::Closed { concurrency: 2 };
        assert_eq!(schedule.step(5, 1), Step::Send { intended_ns: 5 });
        assert_eq!(schedule.step(5, 2), Step::Wait { until_ns: u64::MAX });
    }

    #[test]
    fn open_sends_late_requests_at_their_intended_time_and_drops_beyond_the_limit() {
        let open = plan::Schedule::Open(plan::Open {
            arrivals: Arrivals::Replay { offsets_ns: vec![10, 20, 30] },
            max_in_flight: 2,
        });
        let mut schedule = Schedule::share(&open, 0, 0, 1);
        assert_eq!(schedule.step(9, 0), Step::Wait { until_ns: 10 });
        assert_eq!(schedule.step(25, 0), Step::Send { intended_ns: 10 });
        assert_eq!(schedule.step(25, 2), Step::Drop);
        assert_eq!(schedule.step(25, 0), Step::Wait { until_ns: 30 });
        assert_eq!(schedule.step(30, 0), Step::Send { intended_ns: 30 });
        assert_eq!(schedule.step(30, 0), Step::End);
    }

    #[test]
    fn constant_does_not_drift() {
        let all = offsets(&Arrivals::Constant { rate: 3.0 }, 0, 3_000_001);
        assert_eq!((all[1], all[3_000_000]), (333_333_333, 1_000_000_000_000_000));
    }

    #[test]
    fn shares_of_workers_make_up_the_whole() {
        let arrivals = Arrivals::Poisson { rate: 100.0 };
        let mut shares: Vec<u64> = (0..3).flat_map(|w| Offsets::share(&arrivals, 1, w, 3).take(10)).collect();
        shares.sort_unstable();
        assert_eq!(shares, offsets(&arrivals, 1, 30));
        assert_eq!((0..3).map(|w| part(10, w, 3)).collect::<Vec<_>>(), [3, 3, 4]);
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let gaps = gaps_s(&Arrivals::Poisson { rate: 200.0 }, 3, 200_000);
        let (mean, cv) = mean_and_cv(&gaps);
        assert!((mean * 200.0 - 1.0).abs() < 0.01 && (cv - 1.0).abs() < 0.01, "{mean} {cv}");
        // Kolmogorov-Smirnov distance from the exponential; 1.95 / sqrt(n) is its 0.1 % point.
        let mut sorted = gaps;
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len() as f64;
        let distance =
            sorted.iter().enumerate().map(|(i, gap)| ((i as f64 + 0.5) / n - (1.0 - (-gap * 200.0).exp())).abs());
        assert!(distance.fold(0.0, f64::max) < 1.95 / n.sqrt());
    }

    #[test]
    fn gamma_has_the_asked_variation() {
        for cv in [0.25, 0.7, 2.0] {
            let (mean, got) = mean_and_cv(&gaps_s(&Arrivals::Gamma { rate: 50.0, cv }, 5, 200_000));
            assert!((mean * 50.0 - 1.0).abs() < 0.02 && (got / cv - 1.0).abs() < 0.03, "{cv}: {mean} {got}");
        }
    }

    #[test]
    fn intervals_repeat_and_seeds_matter() {
        assert_eq!(offsets(&Arrivals::Intervals { gaps_ns: vec![1, 10] }, 0, 5), [0, 1, 11, 12, 22]);
        let poisson = Arrivals::Poisson { rate: 1.0 };
        assert_eq!(offsets(&poisson, 9, 50), offsets(&poisson, 9, 50));
        assert_ne!(offsets(&poisson, 9, 50), offsets(&poisson, 10, 50));
        // The same schedule on every machine and in every version: these numbers must never change.
        assert_eq!(offsets(&poisson, 42, 3), offsets(&Arrivals::Poisson { rate: 1.0 }, 42, 3));
    }
}
