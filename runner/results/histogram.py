"""Latency histograms: mergeable, at most 0.1 % relative error from 1 ns to 73 minutes.

The layout is HdrHistogram's with three significant digits and a lowest discernible value of 1 ns, the same as in
`engine/src/histogram.rs`: values below 2048 ns have a bucket each, every later octave is cut into 1024 equal buckets.
A sample stands for the highest value of its bucket, so no percentile is ever reported lower than it was.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SIGNIFICANT_DIGITS = 3
LOWEST_NS = 1
HIGHEST_NS = 3_600_000_000_000
BUCKETS = 33 * 1024
"""Indices run from 0 to BUCKETS - 1; larger values are counted in the last one."""

_HALF_BITS = 10
_HALF = 1 << _HALF_BITS
_PAIR = np.dtype([("index", "<u4"), ("count", "<u8")])
_V2_HEADER = struct.Struct(">iiiiqqd")
_V2_OUTER = struct.Struct(">ii")
_V2_COOKIE = 0x1C849303 | 0x10
_V2_COMPRESSED_COOKIE = 0x1C849304 | 0x10

Ints = npt.NDArray[np.int64]


def bucket_index(value_ns: int) -> int:
    """Bucket that counts `value_ns`."""
    if value_ns < 2 * _HALF:
        return max(value_ns, 0)
    octave = value_ns.bit_length() - (_HALF_BITS + 1)
    return min((octave << _HALF_BITS) + (value_ns >> octave), BUCKETS - 1)


def bucket_bounds(index: int) -> tuple[int, int]:
    """Lowest and highest value in nanoseconds that bucket `index` counts, both inclusive."""
    if not 0 <= index < BUCKETS:
        raise ValueError(f"bucket index must be in 0..{BUCKETS - 1}, got {index}")
    octave = max((index >> _HALF_BITS) - 1, 0)
    lowest = (index - (octave << _HALF_BITS)) << octave
    return lowest, lowest + (1 << octave) - 1


def _lowest(indices: Ints) -> Ints:
    octave: Ints = np.maximum((indices >> _HALF_BITS) - 1, 0)
    lowest: Ints = (indices - (octave << _HALF_BITS)) << octave
    return lowest


def _highest(indices: Ints) -> Ints:
    octave: Ints = np.maximum((indices >> _HALF_BITS) - 1, 0)
    highest: Ints = ((indices - (octave << _HALF_BITS) + 1) << octave) - 1
    return highest


@dataclass(frozen=True, eq=False, slots=True)
class Histogram:
    """Counts of nanosecond values; immutable, so any two may share their arrays."""

    indices: Ints
    """Bucket indices with a count, ascending."""
    counts: Ints
    """How many values each of those buckets holds, all positive."""

    @classmethod
    def empty(cls) -> Histogram:
        """A histogram without values."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def from_pairs(cls, pairs: bytes) -> Histogram:
        """Decode the engine's little-endian (u32 bucket index, u64 count) pairs; ValueError if they are not that."""
        if len(pairs) % _PAIR.itemsize:
            raise ValueError(f"histogram pairs take {_PAIR.itemsize} bytes each, got {len(pairs)} bytes")
        table = np.frombuffer(pairs, _PAIR)
        return cls._checked(table["index"].astype(np.int64), table["count"].astype(np.int64))

    @classmethod
    def from_values(cls, values_ns: Iterable[int]) -> Histogram:
        """Count values given in nanoseconds."""
        indices, counts = np.unique(np.array([bucket_index(int(v)) for v in values_ns], np.int64), return_counts=True)
        return cls(indices, counts.astype(np.int64))

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """One histogram of all values together; exactly what recording them into one would have given."""
        parts = [h for h in histograms if len(h.counts)]
        if len(parts) < 2:
            return parts[0] if parts else cls.empty()
        dense = np.zeros(BUCKETS, np.int64)
        for part in parts:
            dense[part.indices] += part.counts
        return cls._from_dense(dense)

    @classmethod
    def _from_dense(cls, dense: Ints) -> Histogram:
        indices = np.flatnonzero(dense).astype(np.int64)
        return cls(indices, dense[indices])

    @classmethod
    def _checked(cls, indices: Ints, counts: Ints) -> Histogram:
        if len(indices) and (indices[-1] >= BUCKETS or (np.diff(indices) <= 0).any() or (counts <= 0).any()):
            raise ValueError("histogram pairs must have ascending bucket indices in range and positive counts")
        return cls(indices, counts)

    def merge(self, other: Histogram) -> Histogram:
        """Both together, in a new histogram."""
        return Histogram.merged((self, other))

    def __add__(self, other: Histogram) -> Histogram:
        return self.merge(other)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return np.array_equal(self.indices, other.indices) and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.indices.tobytes(), self.counts.tobytes()))

    def __repr__(self) -> str:
        if not self.count:
            return "Histogram(empty)"
        return f"Histogram(count={self.count}, p50_ns={self.quantile(0.5)}, max_ns={self.max_ns})"

    @property
    def count(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def mean_ns(self) -> float:
        """Mean with each value at the middle of its bucket (within 0.05 %); nan when empty."""
        if not len(self.counts):
            return math.nan
        middles = (_lowest(self.indices) + _highest(self.indices)) / 2
        return float(np.dot(middles, self.counts) / self.count)

    @property
    def std_ns(self) -> float:
        """Sample standard deviation (n - 1), each value at the middle of its bucket; nan below two values."""
        if self.count < 2:
            return math.nan
        deviations = (_lowest(self.indices) + _highest(self.indices)) / 2 - self.mean_ns
        return math.sqrt(float(np.dot(deviations**2, self.counts)) / (self.count - 1))

    @property
    def min_ns(self) -> int:
        """Lowest value of the lowest bucket in use; ValueError when empty."""
        self._refuse_empty()
        return bucket_bounds(int(self.indices[0]))[0]

    @property
    def max_ns(self) -> int:
        """Highest value of the highest bucket in use; ValueError when empty."""
        self._refuse_empty()
        return bucket_bounds(int(self.indices[-1]))[1]

    def quantile(self, q: float) -> int:
        """Inverse ECDF in nanoseconds: the ceil(q n)-th smallest value; ValueError when empty or q is not in 0..1."""
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is in 0..1, got {q}")
        self._refuse_empty()
        # A product like 0.07 * 100 is 7.000000000000001: without the slack ceil would skip a rank.
        return self.rank_value(max(1, math.ceil(q * self.count * (1 - 1e-15))))

    def rank_value(self, rank: int) -> int:
        """The `rank`-th smallest value in nanoseconds, 1 <= rank <= count; ValueError outside."""
        if not 1 <= rank <= self.count:
            raise ValueError(f"rank must be in 1..{self.count}, got {rank}")
        position = int(np.searchsorted(np.cumsum(self.counts), rank))
        return bucket_bounds(int(self.indices[position]))[1]

    def count_above(self, value_ns: int) -> int:
        """How many values are above `value_ns`, each value standing for the highest of its bucket."""
        return int(self.counts[_highest(self.indices) > value_ns].sum())

    def to_pairs(self) -> bytes:
        """Encode as `from_pairs` reads it."""
        table = np.empty(len(self.counts), _PAIR)
        table["index"], table["count"] = self.indices, self.counts
        return table.tobytes()

    def to_hdr_v2(self) -> str:
        """Encode as a base64 HdrHistogram V2 compressed histogram, readable by every HdrHistogram library."""
        payload = _encode_counts(self.indices.tolist(), self.counts.tolist())
        header = _V2_HEADER.pack(_V2_COOKIE, len(payload), 0, SIGNIFICANT_DIGITS, LOWEST_NS, HIGHEST_NS, 1.0)
        packed = zlib.compress(header + payload)
        return base64.b64encode(_V2_OUTER.pack(_V2_COMPRESSED_COOKIE, len(packed)) + packed).decode("ascii")

    @classmethod
    def from_hdr_v2(cls, text: str) -> Histogram:
        """Decode what `to_hdr_v2` wrote; ValueError if it is damaged or has another layout."""
        try:
            return cls._from_hdr_v2(text)
        except (ValueError, struct.error, zlib.error, IndexError) as error:
            raise ValueError(f"not an HdrHistogram V2 histogram of this layout: {error}") from error

    @classmethod
    def _from_hdr_v2(cls, text: str) -> Histogram:
        raw = base64.b64decode(text, validate=True)
        cookie, length = _V2_OUTER.unpack_from(raw)
        if cookie != _V2_COMPRESSED_COOKIE:
            raise ValueError(f"unexpected cookie {cookie:#x}")
        body = zlib.decompress(raw[_V2_OUTER.size : _V2_OUTER.size + length])
        cookie, length, offset, digits, lowest, highest, ratio = _V2_HEADER.unpack_from(body)
        layout = (cookie, offset, digits, lowest, ratio)
        if layout != (_V2_COOKIE, 0, SIGNIFICANT_DIGITS, LOWEST_NS, 1.0) or highest > HIGHEST_NS:
            raise ValueError(f"unsupported layout {(*layout, highest)}")
        indices, counts = _decode_counts(body[_V2_HEADER.size : _V2_HEADER.size + length])
        return cls._checked(np.array(indices, np.int64), np.array(counts, np.int64))

    def _refuse_empty(self) -> None:
        if not len(self.counts):
            raise ValueError("an empty histogram has no quantiles")


def _encode_counts(indices: list[int], counts: list[int]) -> bytes:
    """V2 counts array: ZigZag LEB128 words, a negative word being a run of that many empty buckets."""
    out = bytearray()
    following = 0
    for index, count in zip(indices, counts, strict=True):
        if index > following:
            _put_zigzag(out, following - index)
        _put_zigzag(out, count)
        following = index + 1
    return bytes(out)


def _decode_counts(payload: bytes) -> tuple[list[int], list[int]]:
    indices: list[int] = []
    counts: list[int] = []
    index = position = 0
    while position < len(payload):
        word, position = _get_zigzag(payload, position)
        if word > 0:
            indices.append(index)
            counts.append(word)
        index += -word if word < 0 else 1
    return indices, counts


def _put_zigzag(out: bytearray, value: int) -> None:
    word = (value << 1) ^ (value >> 63)
    while word > 0x7F:
        out.append(word & 0x7F | 0x80)
        word >>= 7
    out.append(word)


def _get_zigzag(payload: bytes, position: int) -> tuple[int, int]:
    word = shift = 0
    while True:
        byte = payload[position]
        position += 1
        # The format's ninth byte carries eight bits; a count never needs it to be told apart here (counts < 2**62).
        word |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (word >> 1) ^ -(word & 1), position
