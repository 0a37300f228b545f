//! Sequences of requests that belong together: which one is next, and what its message must say.

use crate::plan;
use crate::random::Random;
use crate::schedule::part;
use std::collections::{HashSet, VecDeque};

/// What a request says of the sequence that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correlation {
    pub id: u64,
    /// The first request of the sequence.
    pub start: bool,
    /// The last one.
    pub end: bool,
}

/// One of the sequences kept alive at the same time; never more than one request of it is in flight.
#[derive(Default)]
struct Place {
    id: u64,
    /// Requests still to be sent; none while no sequence lives here.
    left: u64,
    /// When its first request was meant to be sent.
    began: u64,
    alive: bool,
    /// Which stream it sends, and how much of it has been sent.
    stream: usize,
    step: u32,
}

/// The next request of some sequence.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    pub place: u32,
    /// Where the sequence has a stream of payloads of its own.
    pub payload: Option<u32>,
    pub correlation: Correlation,
}

/// What became of a sequence with an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    GoesOn,
    /// All of it was answered; when it began.
    Finished {
        began: u64,
    },
    /// A request failed: what is left of it is not sent.
    Broken,
}

/// One worker's sequences.
pub struct Sequences {
    places: Vec<Place>,
    /// Places without a request in flight, the one waiting longest first.
    idle: VecDeque<u32>,
    /// Broken sequences that the server may still keep a slot for.
    broken: Vec<u64>,
    length: u64,
    variation: f64,
    ids: Ids,
    random: Random,
    streams: Streams,
}

/// Rows of payloads, dealt round and round to the sequences of a worker.
struct Streams {
    /// First payload and length of each.
    rows: Vec<(u32, u32)>,
    next: usize,
}

impl Streams {
    /// Workers begin apart, so that together they use all of them evenly.
    fn share(lengths: &[u32], worker: usize, workers: usize) -> Streams {
        let mut end = 0;
        let rows = lengths
            .iter()
            .map(|&length| {
                end += length;
                (end - length, length)
            })
            .collect();
        Streams { rows, next: lengths.len() * worker / workers }
    }

    fn deal(&mut self) -> usize {
        let dealt = self.next;
        self.next = (self.next + 1) % self.rows.len().max(1);
        dealt
    }

    fn payload(&self, stream: usize, step: u32) -> Option<u32> {
        self.rows.get(stream).map(|(first, length)| first + step % length)
    }
}

/// A worker's own part of the ids, round and round; ids of living sequences are passed over.
struct Ids {
    first: u64,
    count: u64,
    next: u64,
    living: HashSet<u64>,
}

impl Ids {
    fn take(&mut self) -> u64 {
        loop {
            let id = self.first + self.next;
            self.next = (self.next + 1) % self.count;
            if self.living.insert(id) {
                return id;
            }
        }
    }
}

impl Sequences {
    pub fn share(plan: &plan::Sequences, streams: &[u32], seed: u64, worker: usize, workers: usize) -> Sequences {
        let count = part(plan.count, worker, workers);
        let (mine, of) = (worker as u128, workers as u128);
        let edge = |n: u128| (u128::from(plan.id_count) * n / of) as u64;
        let ids = Ids {
            first: plan.first_id + edge(mine),
            count: edge(mine + 1) - edge(mine),
            next: 0,
            living: HashSet::new(),
        };
        Sequences {
            places: (0..count).map(|_| Place::default()).collect(),
            idle: (0..count as u32).collect(),
            broken: Vec::new(),
            length: plan.length,
            variation: plan.variation,
            ids,
            // Apart from the streams that deal payloads and draw arrivals.
            random: Random::new(seed ^ 0x5e_90e4_ce55, worker as u64),
            streams: Streams::share(streams, worker, workers),
        }
    }

    /// False while every sequence waits for an answer.
    pub fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Uniform in length ± variation, at least 1; without a length that of the stream.
    fn draw_length(&mut self, stream: usize) -> u64 {
        if self.length == 0 {
            return self.streams.rows.get(stream).map_or(1, |(_, length)| u64::from(*length));
        }
        let reach = (self.length as f64 * self.variation).round() as u64;
        let reach = reach.min(self.length - 1);
        self.length - reach + self.random.below(2 * reach + 1)
    }

    /// The next request of the sequence that has waited longest, meant for `intended`; a new one where one ended.
    pub fn take(&mut self, intended: u64) -> Option<Turn> {
        let place = self.idle.pop_front()?;
        let start = !self.places[place as usize].alive;
        if start {
            let stream = self.streams.deal();
            let (id, left) = (self.ids.take(), self.draw_length(stream));
            self.places[place as usize] = Place { id, left, began: intended, alive: true, stream, step: 0 };
        }
        let sequence = &mut self.places[place as usize];
        sequence.left -= 1;
        let payload = self.streams.payload(sequence.stream, sequence.step);
        sequence.step = sequence.step.wrapping_add(1);
        let correlation = Correlation { id: sequence.id, start, end: sequence.left == 0 };
        Some(Turn { place, payload, correlation })
    }

    /// The request in flight at `place` has its outcome.
    pub fn answered(&mut self, place: u32, ok: bool, server_lives: bool) -> Progress {
        self.idle.push_back(place);
        let sequence = &mut self.places[place as usize];
        if ok && sequence.left > 0 {
            return Progress::GoesOn;
        }
        sequence.alive = false;
        self.ids.living.remove(&sequence.id);
        if ok {
            return Progress::Finished { began: sequence.began };
        }
        if server_lives && sequence.left > 0 {
            self.broken.push(sequence.id);
        }
        Progress::Broken
    }

    /// A last request for a broken sequence, so that the server lets go of it.
    pub fn close_broken(&mut self) -> Option<Correlation> {
        self.broken.pop().map(|id| Correlation { id, start: false, end: true })
    }

    /// A last request for a sequence that is not over although nothing more is to be sent.
    pub fn close_living(&mut self) -> Option<Correlation> {
        while let Some(place) = self.idle.pop_front() {
            let sequence = &mut self.places[place as usize];
            if std::mem::take(&mut sequence.alive) {
                return Some(Correlation { id: sequence.id, start: false, end: true });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correlation(id: u64, start: bool, end: bool) -> Correlation {
        Correlation { id, start, end }
    }

    fn sequences(count: usize, length: u64, variation: f64, id_count: u64) -> Sequences {
        let plan = plan::Sequences { count, length, variation, first_id: 10, id_count };
        Sequences::share(&plan, &[], 0, 0, 1)
    }

    /// Payloads of the next requests of a single place, each answered at once.
    fn payloads(sequences: &mut Sequences, requests: usize) -> Vec<(bool, u32)> {
        let mut sent = Vec::new();
        for _ in 0..requests {
            let turn = sequences.take(0).unwrap();
            let is_last = sequences.places[0].left == 0;
            sent.push((is_last, turn.payload.unwrap()));
            sequences.answered(turn.place, true, true);
        }
        sent
    }

    #[test]
    fn each_sequence_sends_a_stream_from_its_start_to_its_end() {
        let plan = plan::Sequences { count: 1, length: 0, variation: 0.2, first_id: 1, id_count: 9 };
        let mut sequences = Sequences::share(&plan, &[3, 1, 2], 0, 0, 1);
        let expected = [(false, 0), (false, 1), (true, 2), (true, 3), (false, 4), (true, 5), (false, 0)];
        assert_eq!(payloads(&mut sequences, 7), expected);
    }

    #[test]
    fn a_sequence_that_is_longer_than_its_stream_begins_it_again() {
        let plan = plan::Sequences { count: 1, length: 5, variation: 0.0, first_id: 1, id_count: 9 };
        let mut sequences = Sequences::share(&plan, &[2, 1], 0, 0, 1);
        let sent: Vec<u32> = payloads(&mut sequences, 7).into_iter().map(|(_, payload)| payload).collect();
        assert_eq!(sent, [0, 1, 0, 1, 0, 2, 2]);
    }

    #[test]
    fn workers_begin_at_different_streams() {
        let plan = plan::Sequences { count: 2, length: 0, variation: 0.0, first_id: 1, id_count: 9 };
        let first = |worker| Sequences::share(&plan, &[1, 1, 1, 1], 0, worker, 2).take(0).unwrap().payload;
        assert_eq!((first(0), first(1)), (Some(0), Some(2)));
    }

    #[test]
    fn a_sequence_starts_goes_on_and_ends() {
        let mut sequences = sequences(1, 3, 0.0, 100);
        for (start, end) in [(true, false), (false, false), (false, true)] {
            let turn = sequences.take(5).unwrap();
            assert_eq!(turn, Turn { place: 0, payload: None, correlation: correlation(10, start, end) });
            assert_eq!(sequences.take(6), None, "one request in flight at most");
            let progress = sequences.answered(0, true, true);
            assert_eq!(progress, if end { Progress::Finished { began: 5 } } else { Progress::GoesOn });
        }
        assert_eq!(sequences.take(7).unwrap().correlation, correlation(11, true, false));
    }

    #[test]
    fn ids_are_used_again_but_never_twice_at_once() {
        let mut sequences = sequences(2, 2, 0.0, 3);
        let mut starts = Vec::new();
        for round in 0..8 {
            let turn = sequences.take(0).unwrap();
            starts.push(turn.correlation.id);
            if round > 0 {
                sequences.answered(turn.place, true, true);
            } else {
                sequences.answered(turn.place, false, false);
            }
        }
        assert!(starts.iter().all(|id| (10..13).contains(id)), "{starts:?}");
    }

    #[test]
    fn a_broken_sequence_is_closed_and_another_one_begins() {
        let mut sequences = sequences(1, 5, 0.0, 100);
        sequences.take(0).unwrap();
        assert_eq!(sequences.answered(0, false, true), Progress::Broken);
        assert_eq!(sequences.close_broken(), Some(correlation(10, false, true)));
        assert_eq!(sequences.close_broken(), None);
        assert_eq!(sequences.take(0).unwrap().correlation, correlation(11, true, false));
        assert_eq!(sequences.close_living(), None, "a request is in flight");
        sequences.answered(0, true, true);
        assert_eq!(sequences.close_living(), Some(correlation(11, false, true)));
        assert_eq!(sequences.close_living(), None);
    }

    #[test]
    fn lengths_vary_uniformly_around_the_mean() {
        let mut sequences = sequences(1, 20, 0.2, 100);
        let lengths: Vec<u64> = (0..9000).map(|_| sequences.draw_length(0)).collect();
        for length in 16..=24 {
            let share = lengths.iter().filter(|l| **l == length).count() as f64 / 9000.0;
            assert!((share - 1.0 / 9.0).abs() < 0.02, "{length}: {share}");
        }
        assert!(lengths.iter().all(|l| (16..=24).contains(l)));
    }

    #[test]
    fn workers_share_places_and_ids() {
        let plan = plan::Sequences { count: 5, length: 1, variation: 0.0, first_id: 1, id_count: 11 };
        let parts: Vec<_> = (0..3).map(|worker| Sequences::share(&plan, &[], 0, worker, 3)).collect();
        assert_eq!(parts.iter().map(|s| s.places.len()).sum::<usize>(), 5);
        assert_eq!(parts.iter().map(|s| s.ids.count).sum::<u64>(), 11);
        assert!(parts.iter().all(|s| s.ids.count >= s.places.len() as u64));
    }
}
