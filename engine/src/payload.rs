//! The pool of ready request messages, and the order in which requests draw from it.

use crate::plan::{Order, Plan};
use crate::random::Random;

/// Encoded messages, shared by every worker; whoever made the pool owns the bytes.
pub struct Pool {
    payloads: Vec<Box<dyn AsRef<[u8]> + Send + Sync>>,
}

impl Pool {
    pub fn new<P: AsRef<[u8]> + Send + Sync + 'static>(payloads: impl IntoIterator<Item = P>) -> Pool {
        Pool { payloads: payloads.into_iter().map(|p| Box::new(p) as Box<_>).collect() }
    }

    #[inline]
    pub fn get(&self, index: u32) -> &[u8] {
        (*self.payloads[index as usize]).as_ref()
    }

    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    pub fn nbytes(&self) -> u64 {
        self.payloads.iter().map(|p| (**p).as_ref().len() as u64).sum()
    }
}

/// An endless stream of pool indices.
pub struct Draw {
    deck: Vec<u32>,
    position: usize,
    shuffle: Option<Random>,
    weighted: Option<Weighted>,
    /// Payloads in the block of each slot; 0 where every slot draws from the whole pool.
    block: u32,
    slots: u32,
    /// Of each payload; empty: not counted.
    items: Vec<u32>,
}

/// Draws by weight in constant time: Walker's alias table, built as by Vose (1991).
struct Weighted {
    random: Random,
    /// Of each payload, the chance of keeping it, and the payload to take instead.
    table: Vec<(f64, u32)>,
}

impl Weighted {
    fn new(weights: &[f64], random: Random) -> Weighted {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut share: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut table: Vec<(f64, u32)> = (0..weights.len() as u32).map(|index| (1.0, index)).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..weights.len() as u32).partition(|&index| share[index as usize] < 1.0);
        while let (Some(&from), Some(to)) = (large.last(), small.pop()) {
            table[to as usize] = (share[to as usize], from);
            share[from as usize] -= 1.0 - share[to as usize];
            if share[from as usize] < 1.0 {
                large.pop();
                small.push(from);
            }
        }
        Weighted { random, table }
    }

    #[inline]
    fn draw(&mut self) -> u32 {
        let index = self.random.below(self.table.len() as u64) as u32;
        let (keep, instead) = self.table[index as usize];
        if self.random.unit() < keep { index } else { instead }
    }
}

impl Draw {
    /// Workers that share a pool start at different places of it, so that together they still use all of it evenly.
    pub fn new(order: Order, size: usize, seed: u64, worker: usize, workers: usize) -> Draw {
        let shuffle = (order == Order::Shuffle).then(|| Random::new(seed, worker as u64));
        let mut draw = Draw {
            deck: (0..size as u32).collect(),
            position: size * worker / workers,
            shuffle,
            weighted: None,
            block: 0,
            slots: 0,
            items: Vec::new(),
        };
        if draw.shuffle.is_some() {
            draw.deal();
        }
        draw
    }

    /// As the plan says, which has been checked against the pool.
    pub fn of(plan: &Plan, size: usize, worker: usize, workers: usize) -> Draw {
        let block = if plan.order == Order::PerSlot { size / plan.slots } else { 0 };
        let mut draw = if block > 0 {
            Draw::new(Order::RoundRobin, block, plan.seed, 0, 1)
        } else {
            Draw::new(plan.order, size, plan.seed, worker, workers)
        };
        draw.block = block as u32;
        draw.slots = plan.slots as u32;
        draw.items.clone_from(&plan.payload_items);
        if plan.order == Order::Weighted {
            draw.weighted = Some(Weighted::new(&plan.payload_weights, Random::new(plan.seed, worker as u64)));
        }
        draw
    }

    /// The payload of the next request, which will be in this slot.
    #[inline]
    pub fn draw_for(&mut self, slot: u32) -> u32 {
        match &mut self.weighted {
            Some(weighted) => weighted.draw(),
            None if self.block > 0 => self.draw() + slot % self.slots * self.block,
            None => self.draw(),
        }
    }

    /// What a request with this payload counts for.
    #[inline]
    pub fn items(&self, payload: u32) -> u32 {
        self.items.get(payload as usize).copied().unwrap_or(0)
    }

    fn deal(&mut self) {
        self.position = 0;
        if let Some(random) = &mut self.shuffle {
            for last in (1..self.deck.len()).rev() {
                self.deck.swap(last, random.below(last as u64 + 1) as usize);
            }
        }
    }

    #[inline]
    pub fn draw(&mut self) -> u32 {
        if self.position == self.deck.len() {
            self.deal();
        }
        self.position += 1;
        self.deck[self.position - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_robin_starts_apart_and_uses_everything() {
        let draws = |worker| {
            let mut draw = Draw::new(Order::RoundRobin, 4, 0, worker, 2);
            (0..6).map(|_| draw.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(0), [0, 1, 2, 3, 0, 1]);
        assert_eq!(draws(1), [2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn shuffle_deals_whole_permutations_by_seed() {
        let deal = |seed| {
            let mut draw = Draw::new(Order::Shuffle, 20, seed, 0, 1);
            (0..40).map(|_| draw.draw()).collect::<Vec<_>>()
        };
        let (first, second) = (deal(7)[..20].to_vec(), deal(7)[20..].to_vec());
        let sorted = |mut v: Vec<u32>| {
            v.sort_unstable();
            v
        };
        assert_eq!(sorted(first.clone()), (0..20).collect::<Vec<_>>());
        assert_eq!(sorted(second.clone()), (0..20).collect::<Vec<_>>());
        assert_ne!(first, second);
        assert_eq!(deal(7), deal(7));
        assert_ne!(deal(7), deal(8));
    }

    fn plan(order: &str, slots: usize, weights: &[f64], items: &[u32]) -> Plan {
        let plan = serde_json::json!({
            "transport": {"kind": "null"}, "schedule": {"kind": "closed", "concurrency": slots.max(1)},
            "order": order, "seed": 3, "max_requests": null, "max_duration_ns": null, "slice_ns": 1_000_000,
            "connect_timeout_ns": 1, "request_timeout_ns": 1, "drain_timeout_ns": 0, "workers": 0, "pin_cpus": [],
            "slots": slots, "payload_weights": weights, "payload_items": items,
        });
        Plan::from_json(&plan.to_string()).unwrap()
    }

    #[test]
    fn weights_are_kept_and_seeded() {
        let weights = [1.0, 2.0, 4.0, 0.5, 0.5];
        let draws = |worker| {
            let mut draw = Draw::of(&plan("weighted", 0, &weights, &[]), 5, worker, 2);
            (0..200_000).map(|_| draw.draw_for(0)).collect::<Vec<_>>()
        };
        let mut counts = [0.0; 5];
        draws(0).iter().for_each(|&index| counts[index as usize] += 1.0);
        let chi2: f64 = (0..5).map(|n| (counts[n] - weights[n] * 25e3).powi(2) / (weights[n] * 25e3)).sum();
        assert!(chi2 < 18.5, "chi-square with 4 degrees of freedom, p = 0.001: {chi2}, {counts:?}");
        assert_eq!(draws(0), draws(0));
        assert_ne!(draws(0), draws(1));
    }

    #[test]
    fn one_weight_and_extreme_weights_are_drawn() {
        let mut single = Draw::of(&plan("weighted", 0, &[7.0], &[]), 1, 0, 1);
        assert!((0..100).all(|_| single.draw_for(0) == 0));
        let mut extreme = Draw::of(&plan("weighted", 0, &[1e-9, 1e9], &[]), 2, 0, 1);
        assert!((0..10_000).all(|_| extreme.draw_for(0) == 1));
    }

    #[test]
    fn a_slot_draws_from_its_own_block() {
        let mut draw = Draw::of(&plan("per_slot", 3, &[], &[]), 6, 0, 1);
        let drawn: Vec<u32> = [0, 1, 2, 2, 0].map(|slot| draw.draw_for(slot)).into();
        assert_eq!(drawn, [0, 3, 4, 5, 0]);
    }

    #[test]
    fn items_are_counted_when_the_plan_says_how_many() {
        let draw = Draw::of(&plan("round_robin", 0, &[], &[8, 2]), 2, 0, 1);
        assert_eq!((draw.items(0), draw.items(1)), (8, 2));
        assert_eq!(Draw::new(Order::RoundRobin, 2, 0, 0, 1).items(1), 0);
    }

    #[test]
    fn pool_counts_bytes() {
        let pool = Pool::new(vec![vec![1u8, 2], vec![], vec![3]]);
        assert_eq!((pool.len(), pool.nbytes(), pool.get(2)), (3, 3, &[3u8][..]));
    }
}
