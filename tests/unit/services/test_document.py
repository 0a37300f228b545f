"""The JSON of a request over HTTP, byte by byte: the engine looks for what is in it."""

from __future__ import annotations

import json

from runner.services.document import request_document

TENSORS = {"inputs": [{"name": "A", "shape": [1], "datatype": "FP32", "data": [1.0]}]}
_ROOM = b'"sequence_id":0,"sequence_start":false,"sequence_end":false                   '


def test_a_request_says_what_it_has_to() -> None:
    inputs = b'"inputs":[{"name":"A","shape":[1],"datatype":"FP32","data":[1.0]}]'
    assert request_document(TENSORS, {}) == b"{" + inputs + b"}"
    assert request_document(TENSORS, {"priority": 1}) == b"{" + inputs + b',"parameters":{"priority":1}}'


def test_a_request_of_a_sequence_begins_with_room_for_the_longest_id() -> None:
    inputs = b'"inputs":[{"name":"A","shape":[1],"datatype":"FP32","data":[1.0]}]'
    assert request_document(TENSORS, {}, in_sequence=True) == b'{"parameters":{' + _ROOM + b"}," + inputs + b"}"
    with_more = request_document(TENSORS, {"text": '"sequence_id":0'}, in_sequence=True)
    assert with_more.startswith(b'{"parameters":{' + _ROOM + b',"text":')
    longest = b'"sequence_id":18446744073709551615,"sequence_start":false,"sequence_end":false'
    assert len(_ROOM) == len(longest)


def test_the_room_says_that_there_is_no_sequence() -> None:
    read = json.loads(request_document(TENSORS, {"priority": 1}, in_sequence=True))
    nothing = {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    assert read == {"parameters": {**nothing, "priority": 1}, **TENSORS}
