//! Wakes an event loop at a time given in nanoseconds; epoll's own timeout only knows milliseconds.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use rustix::time::{timerfd_create, timerfd_settime};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

pub struct Alarm {
    timer: OwnedFd,
    set_for: u64,
}

impl Alarm {
    pub fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, set_for: 0 })
    }

    /// Make sure that the loop wakes at `at` or earlier. An alarm set for an earlier time is left alone: waking once
    /// too often is cheaper than a system call in every turn.
    pub fn set(&mut self, now: u64, at: u64) {
        if self.set_for > now && self.set_for <= at {
            return;
        }
        let left = at.saturating_sub(now).clamp(1, 3_600_000_000_000);
        let value = Timespec { tv_sec: (left / 1_000_000_000) as _, tv_nsec: (left % 1_000_000_000) as _ };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // It can only fail for a bad descriptor or a bad time; neither exists here.
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).is_ok() {
            self.set_for = at;
        }
    }
}
