//! Bytes on their way out: small ones copied together into one write, payloads passed on by reference.

use crate::payload::Pool;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

/// Payload parts up to this size are cheaper to copy than to write from where they are.
const COPY_LIMIT: usize = 4096;
const SLICES: usize = 64;
/// Messages above this size take a while to be written.
pub const LARGE: usize = 16 * 1024;

enum Segment {
    /// That many of the bytes not written yet.
    Bytes(usize),
    Payload {
        index: u32,
        from: usize,
        to: usize,
    },
}

#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How many of `bytes` are written.
    head: usize,
    segments: VecDeque<Segment>,
    queued: u64,
    written: u64,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.queued == self.written
    }

    /// Bytes ever put in; the position that the next byte will have.
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Bytes ever handed to the kernel.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Append bytes through `fill`, which may only extend the vector it is given.
    #[inline]
    pub fn fill(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        fill(&mut self.bytes);
        let added = self.bytes.len() - before;
        self.queued += added as u64;
        match self.segments.back_mut() {
            Some(Segment::Bytes(len)) => *len += added,
            _ => self.segments.push_back(Segment::Bytes(added)),
        }
    }

    pub fn put(&mut self, bytes: &[u8]) {
        self.fill(|out| out.extend_from_slice(bytes));
    }

    #[inline]
    pub fn put_payload(&mut self, pool: &Pool, index: u32, from: usize, to: usize) {
        if to - from <= COPY_LIMIT {
            return self.put(&pool.get(index)[from..to]);
        }
        self.queued += (to - from) as u64;
        self.segments.push_back(Segment::Payload { index, from, to });
    }

    /// Write until everything is out (true) or the writer would block (false).
    pub fn write_to(&mut self, pool: &Pool, writer: &mut impl Write) -> io::Result<bool> {
        while !self.is_empty() {
            match self.write_once(pool, writer) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.compact();
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.segments.clear();
        self.head = 0;
        Ok(true)
    }

    fn write_once(&self, pool: &Pool, writer: &mut impl Write) -> io::Result<usize> {
        if self.segments.len() == 1 {
            return writer.write(self.slice(pool, &self.segments[0], self.head));
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut head = self.head;
        let mut used = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(self.slice(pool, segment, head));
            if let Segment::Bytes(len) = segment {
                head += len;
            }
            used += 1;
        }
        writer.write_vectored(&slices[..used])
    }

    fn slice<'a>(&'a self, pool: &'a Pool, segment: &Segment, head: usize) -> &'a [u8] {
        match *segment {
            Segment::Bytes(len) => &self.bytes[head..head + len],
            Segment::Payload { index, from, to } => &pool.get(index)[from..to],
        }
    }

    fn advance(&mut self, mut count: usize) {
        self.written += count as u64;
        while let Some(segment) = self.segments.front_mut() {
            let len = match segment {
                Segment::Bytes(len) => *len,
                Segment::Payload { from, to, .. } => *to - *from,
            };
            let taken = count.min(len);
            match segment {
                Segment::Bytes(len) => {
                    self.head += taken;
                    *len -= taken;
                }
                Segment::Payload { from, .. } => *from += taken,
            }
            if taken < len {
                return;
            }
            count -= taken;
            self.segments.pop_front();
        }
    }

    /// Give back the room of written bytes while a slow peer keeps the rest waiting.
    fn compact(&mut self) {
        if self.head > COPY_LIMIT && self.head * 2 > self.bytes.len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes a scripted number of bytes per write, then would block.
    struct Slow {
        got: Vec<u8>,
        takes: Vec<usize>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let take = self.takes.pop().unwrap_or(0).min(bytes.len());
            if take == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.got.extend_from_slice(&bytes[..take]);
            Ok(take)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn writes_everything_in_order_however_little_is_taken(
            parts in prop::collection::vec((any::<bool>(), 0usize..9000), 1..20),
            takes in prop::collection::vec(1usize..20_000, 0..40),
        ) {
            let pool = Pool::new([(0..9000).map(|n| n as u8).collect::<Vec<u8>>()]);
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for (as_payload, len) in parts {
                if as_payload { outbox.put_payload(&pool, 0, 0, len) } else { outbox.put(&pool.get(0)[..len]) }
                expected.extend_from_slice(&pool.get(0)[..len]);
            }
            let mut writer = Slow { got: Vec::new(), takes };
            while !outbox.write_to(&pool, &mut writer).unwrap() {
                prop_assert_eq!(outbox.written(), writer.got.len() as u64);
                writer.takes = vec![5000; 3];
            }
            prop_assert_eq!(outbox.queued(), expected.len() as u64);
            prop_assert!(writer.got == expected && outbox.is_empty());
        }
    }
}
