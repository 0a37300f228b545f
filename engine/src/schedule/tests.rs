use super::*;

fn offsets(arrivals: &Arrivals, seed: u64, count: usize) -> Vec<u64> {
    let mut all = Offsets::new(arrivals, seed);
    (0..count as u64).map_while(|n| all.at(n)).collect()
}

fn gaps_s(arrivals: &Arrivals, seed: u64, count: usize) -> Vec<f64> {
    offsets(arrivals, seed, count + 1).windows(2).map(|w| (w[1] - w[0]) as f64 / 1e9).collect()
}

fn mean_and_cv(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt() / mean)
}

fn shares(plan: &plan::Schedule, workers: usize) -> (Arc<Shared>, Vec<Schedule>) {
    let shared = Shared::new(plan);
    let shares = (0..workers).map(|worker| Schedule::share(plan, 0, worker, workers, &shared)).collect();
    (shared, shares)
}

fn replay(offsets_ns: Vec<u64>, max_in_flight: usize) -> plan::Schedule {
    plan::Schedule::Open(plan::Open { arrivals: Arrivals::Replay { offsets_ns }, max_in_flight })
}

#[test]
fn closed_sends_whenever_a_slot_is_free_and_its_number_may_change() {
    let (shared, mut both) = shares(&plan::Schedule::Closed(plan::Closed { concurrency: 4 }), 2);
    let wait = Step::Wait { until_ns: u64::MAX };
    assert_eq!(both[0].step(5, 1), Step::Send { intended_ns: 5 });
    assert_eq!((both[0].step(5, 2), both[1].step(5, 2)), (wait, wait));
    shared.set_concurrency(5);
    assert_eq!((both[0].step(6, 2), both[1].step(6, 2)), (wait, Step::Send { intended_ns: 6 }));
    shared.set_concurrency(1);
    assert_eq!((both[0].step(7, 0), both[1].step(7, 1)), (wait, wait));
}

#[test]
fn open_sends_late_requests_at_their_intended_time_and_drops_beyond_the_limit() {
    let (_, mut all) = shares(&replay(vec![10, 20, 30, 40], 1), 1);
    let schedule = &mut all[0];
    assert_eq!(schedule.step(9, 0), Step::Wait { until_ns: 10 });
    assert_eq!(schedule.step(25, 0), Step::Send { intended_ns: 10 });
    assert_eq!(schedule.step(25, 1), Step::Drop);
    schedule.finished(0, 0);
    assert_eq!(schedule.step(25, 0), Step::Wait { until_ns: 30 });
    assert_eq!(schedule.step(30, 0), Step::Send { intended_ns: 30 });
    schedule.finished(0, 0);
    assert_eq!(schedule.step(40, 0), Step::Send { intended_ns: 40 });
    assert_eq!(schedule.step(40, 0), Step::End);
}

#[test]
fn workers_without_anything_to_do_look_after_the_request_of_another_one_after_another() {
    let second = 1_000_000_000;
    let (_, mut three) = shares(&replay(vec![second, 2 * second, 3 * second, 4 * second], 9), 3);
    let wake: Vec<Step> = three.iter_mut().map(|schedule| schedule.step(0, 0)).collect();
    assert_eq!(wake, [0, 1, 2].map(|turn| Step::Wait { until_ns: second + turn * GRACE_NS }));
    assert_eq!(three[1].step(second + GRACE_NS, 0), Step::Send { intended_ns: second });
    assert_eq!(three[0].step(second + GRACE_NS, 0), Step::Wait { until_ns: 2 * second + 2 * GRACE_NS });
}

#[test]
fn a_late_request_is_taken_by_any_worker_and_by_one_only() {
    let (_, mut both) = shares(&replay(vec![10, 20, 30, 40], 9), 2);
    // Each waits for the requests that are its own as long as nothing is late …
    assert_eq!(both[0].step(5, 0), Step::Wait { until_ns: 10 });
    assert_eq!(both[1].step(5, 0), Step::Wait { until_ns: 20 });
    // … and the one that comes takes whatever is late.
    assert_eq!(both[1].step(20, 0), Step::Send { intended_ns: 10 });
    assert_eq!(both[1].step(20, 0), Step::Send { intended_ns: 20 });
    assert_eq!(both[1].step(20, 0), Step::Wait { until_ns: 40 });
    assert_eq!(both[0].step(20, 0), Step::Wait { until_ns: 30 });
    assert_eq!(both[0].step(45, 0), Step::Send { intended_ns: 30 });
    // Nothing of its own is left: it looks whether the last one is sent.
    assert_eq!(both[0].step(35, 0), Step::Wait { until_ns: 40 + GRACE_NS });
    assert_eq!(both[1].step(40, 0), Step::Send { intended_ns: 40 });
    assert_eq!((both[0].step(45, 0), both[1].step(45, 0)), (Step::End, Step::End));
}

#[test]
fn the_limit_in_flight_holds_for_all_workers_together() {
    let (_, mut both) = shares(&replay(vec![1, 2, 3, 4], 2), 2);
    assert_eq!(both[0].step(9, 0), Step::Send { intended_ns: 1 });
    assert_eq!(both[0].step(9, 1), Step::Send { intended_ns: 2 });
    assert_eq!(both[1].step(9, 0), Step::Drop);
    both[0].finished(0, 0);
    assert_eq!(both[1].step(9, 0), Step::Send { intended_ns: 4 });
}

#[test]
fn a_periodic_load_grows_when_every_slot_of_the_newest_step_was_answered() {
    let plan = plan::Schedule::Periodic(plan::Periodic { start: 1, end: 5, step: 2, request_period: 2 });
    let (_, mut all) = shares(&plan, 1);
    let schedule = &mut all[0];
    let most = |schedule: &mut Schedule| (0..9).find(|n| !matches!(schedule.step(0, *n), Step::Send { .. }));
    for (token, expected) in [(0, 1), (0, 3), (0, 3), (1, 3), (1, 3), (1, 3), (2, 3), (2, 5), (3, 5), (3, 5)] {
        schedule.finished(token, 0);
        assert_eq!(most(schedule), Some(expected));
    }
    // On a stream its responses count, and its end only where there were none.
    schedule.finished(4, 7);
    assert_eq!(most(schedule), Some(5));
    schedule.responded(4);
    schedule.finished(4, 0);
    assert_eq!(schedule.step(0, 0), Step::End);
}

#[test]
fn constant_does_not_drift() {
    let all = offsets(&Arrivals::Constant { rate: 3.0 }, 0, 3_000_001);
    assert_eq!((all[1], all[3_000_000]), (333_333_333, 1_000_000_000_000_000));
}

#[test]
fn shares_of_workers_make_up_the_whole() {
    let arrivals = Arrivals::Poisson { rate: 100.0 };
    let plan = plan::Schedule::Open(plan::Open { arrivals: arrivals.clone(), max_in_flight: 1000 });
    let (_, mut all) = shares(&plan, 3);
    let sent: Vec<u64> = (0..30)
        .map(|n| match all[n * 7 % 3].step(u64::MAX, 0) {
            Step::Send { intended_ns } => intended_ns,
            step => panic!("{step:?}"),
        })
        .collect();
    assert_eq!(sent, offsets(&arrivals, 0, 30));
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
