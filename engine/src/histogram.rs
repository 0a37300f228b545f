//! Log-linear histograms of nanoseconds: HdrHistogram's layout with three significant digits, lowest value 1 ns.
//!
//! Values below 2048 ns have a bucket each; every later octave is cut into 1024 equal buckets, so a bucket is never
//! wider than 0.1 % of its values.

const HALF_BITS: u32 = 10;
const HALF: u64 = 1 << HALF_BITS;
/// 2048 << 31 ns is 73 minutes, the first power of two that an hour fits under.
const OCTAVES: usize = 32;
/// Number of buckets; larger values are counted in the last one.
pub const BUCKETS: usize = (OCTAVES + 1) << HALF_BITS;

/// A bucket index and how many values it holds.
pub type Pair = (u32, u64);

/// Bucket that counts `value_ns`.
#[inline]
pub fn bucket_index(value_ns: u64) -> usize {
    let octave = (u64::BITS - (value_ns | (2 * HALF - 1)).leading_zeros()) - (HALF_BITS + 1);
    let index = (u64::from(octave) << HALF_BITS) + (value_ns >> octave);
    (index as usize).min(BUCKETS - 1)
}

/// Lowest and highest value that bucket `index` counts.
pub fn bucket_bounds(index: usize) -> (u64, u64) {
    let index = index as u64;
    let octave = (index >> HALF_BITS).saturating_sub(1);
    let lowest = (index - (octave << HALF_BITS)) << octave;
    (lowest, lowest + (1 << octave) - 1)
}

/// The dense histogram a worker records into; `take` empties it without giving its memory back.
pub struct Histogram {
    counts: Vec<u64>,
    lowest: usize,
    highest: usize,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], lowest: BUCKETS, highest: 0 }
    }
}

impl Histogram {
    #[inline]
    pub fn record(&mut self, value_ns: u64) {
        let index = bucket_index(value_ns);
        self.counts[index] += 1;
        self.lowest = self.lowest.min(index);
        self.highest = self.highest.max(index);
    }

    /// The buckets in use, ascending; the histogram is empty afterwards.
    pub fn take(&mut self) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for index in self.lowest..=self.highest {
            let count = std::mem::take(&mut self.counts[index]);
            if count > 0 {
                pairs.push((index as u32, count));
            }
        }
        (self.lowest, self.highest) = (BUCKETS, 0);
        pairs
    }
}

/// Both sets of pairs as one, ascending.
pub fn merge(left: &[Pair], right: &[Pair]) -> Vec<Pair> {
    let mut merged: Vec<Pair> = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        let (a, b) = (left[l], right[r]);
        merged.push(if a.0 == b.0 { (a.0, a.1 + b.1) } else { a.min(b) });
        l += usize::from(a.0 <= b.0);
        r += usize::from(b.0 <= a.0);
    }
    merged.extend_from_slice(&left[l..]);
    merged.extend_from_slice(&right[r..]);
    merged
}

/// Little-endian (u32 index, u64 count) pairs.
pub fn pack(pairs: &[Pair]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pairs.len() * 12);
    for (index, count) in pairs {
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_tile_the_values() {
        let mut expected = 0;
        for index in 0..BUCKETS {
            let (lowest, highest) = bucket_bounds(index);
            assert_eq!(lowest, expected);
            assert_eq!((bucket_index(lowest), bucket_index(highest)), (index, index));
            assert!(lowest < 2048 || (highest - lowest + 1) * 1000 <= lowest);
            expected = highest + 1;
        }
        assert!(expected > 3_600_000_000_000);
        assert_eq!(bucket_index(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn take_gives_ascending_pairs_and_empties() {
        let mut histogram = Histogram::default();
        for value in [5, 1_000_000, 5, 77] {
            histogram.record(value);
        }
        assert_eq!(histogram.take(), vec![(5, 2), (77, 1), (bucket_index(1_000_000) as u32, 1)]);
        assert_eq!(histogram.take(), vec![]);
    }

    #[test]
    fn merging_adds_counts() {
        assert_eq!(merge(&[(1, 2), (5, 1)], &[(0, 1), (5, 3), (9, 1)]), vec![(0, 1), (1, 2), (5, 4), (9, 1)]);
        assert_eq!(pack(&[(1, 2)]), [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    }
}
