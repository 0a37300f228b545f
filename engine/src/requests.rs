//! Where the requests of a transport are: waiting for a connection, or on one.

use crate::error::Failure;
use crate::transport::Event;
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place<On> {
    Nowhere,
    Waiting,
    On(On),
}

/// A request that is on no connection yet; `Say` is what it says beyond its payload.
pub struct Waiting<Say> {
    pub token: u32,
    pub payload: u32,
    pub say: Say,
    /// In which turn it was submitted.
    pub turn: u64,
}

/// By token; `On` says where on its connections a transport finds a request.
pub struct Requests<Say, On> {
    places: Vec<Place<On>>,
    waiting: VecDeque<Waiting<Say>>,
}

impl<Say, On> Default for Requests<Say, On> {
    fn default() -> Self {
        Requests { places: Vec::new(), waiting: VecDeque::new() }
    }
}

impl<Say, On: Copy> Requests<Say, On> {
    /// How many wait.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    #[inline]
    pub fn wait(&mut self, waiting: Waiting<Say>) {
        if self.places.len() <= waiting.token as usize {
            self.places.resize(waiting.token as usize + 1, Place::Nowhere);
        }
        self.places[waiting.token as usize] = Place::Waiting;
        self.waiting.push_back(waiting);
    }

    /// Before all others: it was on a connection already.
    pub fn wait_again(&mut self, waiting: Waiting<Say>) {
        self.places[waiting.token as usize] = Place::Waiting;
        self.waiting.push_front(waiting);
    }

    /// Who waits longest; `put` says where it went.
    #[inline]
    pub fn take(&mut self) -> Option<Waiting<Say>> {
        self.waiting.pop_front()
    }

    #[inline]
    pub fn put(&mut self, token: u32, on: On) {
        self.places[token as usize] = Place::On(on);
    }

    /// It has its outcome.
    #[inline]
    pub fn done(&mut self, token: u32) {
        self.places[token as usize] = Place::Nowhere;
    }

    /// Forget a request; where it is, if it is on a connection.
    pub fn cancel(&mut self, token: u32) -> Option<On> {
        match std::mem::replace(&mut self.places[token as usize], Place::Nowhere) {
            Place::Nowhere => None,
            Place::Waiting => {
                self.waiting.retain(|waiting| waiting.token != token);
                None
            }
            Place::On(on) => Some(on),
        }
    }

    /// The first `count` of those that wait fail.
    pub fn fail(&mut self, count: usize, failure: &Failure, at: u64, events: &mut Vec<Event>) {
        for _ in 0..count {
            let Some(Waiting { token, .. }) = self.waiting.pop_front() else { return };
            self.done(token);
            events.push(Event::Done { token, at, outcome: Err(failure.clone()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn waiting(token: u32) -> Waiting<()> {
        Waiting { token, payload: 0, say: (), turn: 0 }
    }

    #[test]
    fn requests_leave_in_their_order_and_those_sent_back_come_first() {
        let mut requests = Requests::<(), usize>::default();
        [3, 1, 2].into_iter().for_each(|token| requests.wait(waiting(token)));
        let first = requests.take().unwrap();
        requests.put(first.token, 7);
        requests.wait_again(first);
        let order: Vec<u32> = std::iter::from_fn(|| requests.take()).map(|waiting| waiting.token).collect();
        assert_eq!(order, [3, 1, 2]);
    }

    #[test]
    fn a_cancelled_request_is_named_only_where_it_is_on_a_connection() {
        let mut requests = Requests::<(), usize>::default();
        [0, 1, 2].into_iter().for_each(|token| requests.wait(waiting(token)));
        let token = requests.take().unwrap().token;
        requests.put(token, 7);
        assert_eq!((requests.cancel(0), requests.cancel(0), requests.cancel(2)), (Some(7), None, None));
        assert_eq!((requests.waiting(), requests.take().unwrap().token), (1, 1));
    }

    #[test]
    fn as_many_as_asked_fail_and_the_others_wait_on() {
        let mut requests = Requests::<(), usize>::default();
        [0, 1, 2].into_iter().for_each(|token| requests.wait(waiting(token)));
        let mut events = Vec::new();
        requests.fail(2, &Failure::new(Code::ConnectFailed, "gone"), 5, &mut events);
        let failed = |event: &Event| matches!(event, Event::Done { at: 5, outcome: Err(_), .. });
        assert_eq!((events.len(), events.iter().all(failed), requests.waiting()), (2, true, 1));
        requests.fail(usize::MAX, &Failure::new(Code::ConnectFailed, "gone"), 5, &mut events);
        assert_eq!((events.len(), requests.waiting()), (3, 0));
    }
}
