"""Items composed into requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import ServiceError
from runner.load.inputs import Items
from runner.load.payloads import build_payloads, requests_for
from runner.services.base import ModelMetadata


class Recorder:
    """An encoder that keeps what it was given."""

    def __init__(self) -> None:
        self.requests: list[dict[str, np.ndarray]] = []

    def encode(self, model: str, inputs: Mapping[str, np.ndarray]) -> bytes:
        self.requests.append(dict(inputs))
        return b"".join(array.tobytes() for array in inputs.values())


def model(max_batch_size: int = 64) -> ModelMetadata:
    return ModelMetadata("m", "1", "python", max_batch_size, (), ())


def numbered(count: int, tensor: str = "T", **kw: object) -> Items:
    arrays = tuple(np.array([index], np.int32) for index in range(count))
    return Items(tensor, "INT32", arrays, "test", count, **kw)  # type: ignore[arg-type]


def used(recorder: Recorder, tensor: str = "T") -> list[list[int]]:
    return [request[tensor][:, 0].tolist() for request in recorder.requests]


@pytest.mark.parametrize(
    ("count", "batch", "requests"), [(4, 1, 4), (4, 2, 2), (4, 4, 1), (4, 3, 4), (4, 8, 1), (6, 4, 3), (1, 5, 1)]
)
def test_every_item_is_used_equally_often(count: int, batch: int, requests: int) -> None:
    recorder = Recorder()
    payloads = build_payloads(recorder, model(), [numbered(count)], batch)
    assert (len(payloads.messages), payloads.items_per_request, payloads.cut) == (requests, batch, None)
    assert set(Counter(chain(*used(recorder))).values()) == {requests * batch // count}


@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.integers(1, 12))
def test_it_is_the_smallest_number_of_requests_that_does(counts: list[int], batch: int) -> None:
    wanted = requests_for(counts, batch)
    assert all(wanted * batch % count == 0 for count in counts)
    assert not any(all(fewer * batch % count == 0 for count in counts) for fewer in range(1, wanted))


def test_in_order_items_wrap_around() -> None:
    recorder = Recorder()
    build_payloads(recorder, model(), [numbered(3)], 2)
    assert used(recorder) == [[0, 1], [2, 0], [1, 2]]


def test_shuffled_items_are_dealt_anew_each_time_round() -> None:
    items, recorder, again = numbered(16, shuffle_seed=7), Recorder(), Recorder()
    first = build_payloads(recorder, model(), [items], 3)
    dealt = list(chain(*used(recorder)))
    rounds = [dealt[start : start + 16] for start in range(0, len(dealt), 16)]
    assert all(sorted(one) == list(range(16)) for one in rounds)
    assert rounds[0] != rounds[1] != list(range(16))
    assert build_payloads(again, model(), [items], 3).digest == first.digest
    assert build_payloads(again, model(), [numbered(16, shuffle_seed=8)], 3).digest != first.digest


def test_several_inputs_go_together() -> None:
    recorder = Recorder()
    build_payloads(recorder, model(), [numbered(2, "A"), numbered(3, "B")], 1)
    assert used(recorder, "A") == [[0], [1], [0], [1], [0], [1]]
    assert used(recorder, "B") == [[0], [1], [2], [0], [1], [2]]


def test_shorter_items_are_padded_to_the_longest_of_their_request() -> None:
    arrays = tuple(np.frombuffer(data, np.uint8) for data in (b"a", b"bbb", b"cc", b"dd"))
    recorder = Recorder()
    payloads = build_payloads(recorder, model(), [Items("E", "UINT8", arrays, "test", 4)], 2)
    assert [request["E"].tolist() for request in recorder.requests] == [[[97, 0, 0], [98] * 3], [[99] * 2, [100] * 2]]
    assert payloads.padding_bytes == 2
    assert payloads.facts()["payload_padding_bytes"] == "2"


def test_items_of_different_shapes_that_cannot_be_padded_are_refused() -> None:
    flat = (np.empty(1, np.object_), np.empty(2, np.object_))
    square = (np.zeros((1, 2)), np.zeros((2, 2)))
    for arrays in (flat, square):
        with pytest.raises(ServiceError, match="different shapes cannot share a request"):
            build_payloads(Recorder(), model(), [Items("T", "FP64", arrays, "test", 2)], 2)


def test_a_model_without_batching_gets_no_batch_dimension() -> None:
    recorder = Recorder()
    payloads = build_payloads(recorder, model(max_batch_size=0), [numbered(2)], 1)
    assert [request["T"].shape for request in recorder.requests] == [(1,), (1,)]
    assert payloads.items_per_request == 1


@pytest.mark.parametrize(("limit", "batch", "says"), [(8, 9, "at most 8 items"), (0, 2, r"max_batch_size is 0")])
def test_a_batch_the_model_does_not_take_is_refused(limit: int, batch: int, says: str) -> None:
    with pytest.raises(ServiceError, match=f"workload.batch is {batch}.*{says}") as caught:
        build_payloads(Recorder(), model(limit), [numbered(2)], batch)
    assert "max_batch_size" in (caught.value.hint or "")


def test_limits_cut_the_pool_and_say_so() -> None:
    by_bytes = build_payloads(Recorder(), model(), [numbered(10)], 1, max_bytes=15)
    assert (len(by_bytes.messages), by_bytes.nbytes) == (3, 12)
    assert by_bytes.cut == "3 of 10 requests: the pool is limited to 15 bytes"
    by_count = build_payloads(Recorder(), model(), [numbered(10)], 1, max_messages=4)
    assert by_count.cut == "4 of 10 requests: the pool is limited to 4 messages"
    assert by_count.facts()["payload_cut"] == by_count.cut
    assert len(build_payloads(Recorder(), model(), [numbered(10)], 1, max_bytes=0).messages) == 1


def test_items_that_were_cut_when_read_are_reported() -> None:
    items = Items("T", "INT32", numbered(2).arrays, "test", available=5)
    assert "2 of 5 items of T" in (build_payloads(Recorder(), model(), [items], 1).cut or "")


def test_a_model_without_inputs_gets_one_message() -> None:
    assert build_payloads(Recorder(), model(), [], 1).messages == (b"",)


def test_the_digest_tells_messages_apart_not_just_their_bytes() -> None:
    one = Items("T", "UINT8", (np.zeros(4, np.uint8),), "test", 1)
    two = Items("T", "UINT8", (np.zeros(2, np.uint8), np.zeros(2, np.uint8)), "test", 2)
    digests = {build_payloads(Recorder(), model(), [items], 1).digest for items in (one, two)}
    assert len(digests) == 2
    assert all(len(digest) == 64 for digest in digests)
