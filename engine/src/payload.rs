//! The pool of ready request messages, and the order in which requests draw from it.

use crate::plan::Order;
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
}

impl Draw {
    /// Workers that share a pool start at different places of it, so that together they still use all of it evenly.
    pub fn new(order: Order, size: usize, seed: u64, worker: usize, workers: usize) -> Draw {
        let shuffle = (order == Order::Shuffle).then(|| Random::new(seed, worker as u64));
        let mut draw = Draw { deck: (0..size as u32).collect(), position: size * worker / workers, shuffle };
        if draw.shuffle.is_some() {
            draw.deal();
        }
        draw
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

    #[test]
    fn pool_counts_bytes() {
        let pool = Pool::new(vec![vec![1u8, 2], vec![], vec![3]]);
        assert_eq!((pool.len(), pool.nbytes(), pool.get(2)), (3, 3, &[3u8][..]));
    }
}
