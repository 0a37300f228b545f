//! A transport that answers at once, in process: what a run costs on it is the engine's own cost.

use crate::transport::{Clock, Event, Traffic, Transport};
use std::time::Duration;

#[derive(Default)]
pub struct Null {
    submitted: Vec<u32>,
}

impl Transport for Null {
    fn submit(&mut self, token: u32, _payload: u32) {
        self.submitted.push(token);
    }

    fn cancel(&mut self, token: u32) {
        self.submitted.retain(|submitted| *submitted != token);
    }

    fn poll(&mut self, clock: &impl Clock, until: u64, events: &mut Vec<Event>) {
        let at = clock.now();
        if self.submitted.is_empty() {
            std::thread::sleep(Duration::from_nanos(until.saturating_sub(at)));
        }
        events.extend(self.submitted.drain(..).map(|token| Event::Done { token, at, outcome: Ok(()) }));
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}
