"""Features of a workload that exclude each other are refused before anything runs, each with its key."""

from __future__ import annotations

import pytest

from runner.errors import ScenarioError

HEAD = "scenario: 1\nname: x\nworkload: {model: m, input: {I: {generate: zero, shape: [1]}}, "


@pytest.mark.parametrize(
    ("workload", "address", "words"),
    [
        ("sequences: {count: 2}, protocol: http, compression: gzip", "workload.sequences", "got `gzip`"),
        ("streaming: true, protocol: http", "workload.streaming", "expected protocol `grpc`, got `http`"),
        ("sequences: {count: 2}, compression: gzip", "workload.sequences", "expected compression `none`, got `gzip`"),
        ("streaming: true, compression: deflate", "workload.streaming", "expected compression `none`, got `deflate`"),
        ("sequences: {count: 2}, shared_memory: system", "workload.sequences", "shared"),
        ("streaming: true, shared_memory: system", "workload.streaming", "shared"),
        ("validate: {expect: recorded}, shared_memory: cuda", "workload.validate", "outputs on a GPU"),
        ("validate: {expect: data}", "workload.validate", "needs `workload.data`"),
        ("validate: {expect: files}", "workload.validate.expect", "expected `outputs` beside `files`"),
        ("sequences: {count: 2}, batch: 2", "workload.batch", "expected 1, as sequence batchers"),
        ("validate: {expect: recorded}, sequences: {count: 2}", "workload.validate", "stateful models differ"),
        ("sequences: {}, endpoints: [{grpc: 'h:1'}]", "workload.endpoints", "servers do not share a sequence's state"),
        (
            "sequences: {}, protocol: http, endpoints: [{http: 'h:1'}]",
            "workload.endpoints",
            "do not share a sequence's",
        ),
        ("shared_memory: system, endpoints: [{grpc: 'h:1'}]", "workload.endpoints", "only one server knows"),
        ("protocol: http, endpoints: [{grpc: 'h:1'}]", "workload.endpoints", "expected `http: host:port`"),
        ("weight: 2", "workload.weight", "expected `endpoints` beside it"),
        ("endpoints: [{grpc: 'http://h:1/x'}]", "workload.endpoints.0.grpc", "`host:port`"),
        ("sequences: {count: 4, ids: 3}", "workload.sequences.ids", "expected at least the `count` of 4, got 3"),
        ("shared_memory: system, protocol: http, tensors: json", "workload.tensors", "memory do not travel"),
        ("shared_memory: cuda, protocol: http, output_tensors: json", "workload.output_tensors", "do not travel"),
        ("tensors: json", "workload.tensors", "only HTTP carries tensors as JSON"),
    ],
)
def test_what_excludes_each_other_is_refused(desk, workload, address, words):
    with pytest.raises(ScenarioError) as caught:
        desk.load(HEAD + workload + "}\n")
    (mistake,) = caught.value.diagnostics
    assert mistake.address == address
    assert words in mistake.message


@pytest.mark.parametrize(
    "workload",
    [
        "sequences: {count: 2, length: 5, variation: 20%}",
        "sequences: {count: 2}, protocol: http, tensors: json, response_compression: gzip",
        "streaming: true",
        "streaming: true, sequences: {count: 2}",
        "validate: {expect: recorded, mode: tolerance, rtol: 0.01}",
        "protocol: http, compression: gzip, tensors: json",
        "shared_memory: system",
        "validate: {mode: digest}, streaming: true",
        "endpoints: [{grpc: 'h:1', weight: 2}, {grpc: '[::1]:8001', http: 'h:80'}], weight: 3",
        "response_compression: gzip, streaming: true",
        "validate: {mode: digest}, protocol: http, compression: gzip",
        "validate: {every: 1}, shared_memory: system",
        "validate: {every: 1}, shared_memory: system, protocol: http, compression: gzip",
    ],
)
def test_what_goes_together_is_accepted(desk, workload):
    assert desk.load(HEAD + workload + "}\n").scenario.workload.model == "m"


@pytest.mark.parametrize(
    ("parts", "address", "words"),
    [
        (
            "}\nload: {kind: poisson, rate: 5/s, streams_per_connection: 2}",
            "streams_per_connection",
            "`connections` beside",
        ),
        ("protocol: http}\nload: {streams_per_connection: 2}", "load", "is for gRPC"),
    ],
)
def test_streams_of_a_connection_must_make_sense(desk, parts, address, words):
    with pytest.raises(ScenarioError) as caught:
        desk.load(HEAD + parts + "\n")
    (mistake,) = caught.value.diagnostics
    assert mistake.address.endswith(address)
    assert words in mistake.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 1x", "version"),
        ("parameters: {sequence_id: 4}", "`sequence_id` is set by the protocol itself"),
        ("parameters: {triton_x: true}", "is set by the protocol itself"),
        ("output_tensors: json", "only HTTP carries tensors as JSON"),
        ("generate: {text: a, text_length: 3}", "expected no length beside `text`"),
        ("input: {X: {generate: zero, text: a}}", "a text is neither zero nor of any other length"),
        ("data: []", "data"),
        ("data: [nowhere.json]", "nowhere.json"),
    ],
)
def test_what_a_call_cannot_say(desk, text, says):
    with pytest.raises(ScenarioError) as caught:
        desk.load(f"scenario: 1\nname: x\nworkload: {{model: m, {text}}}\n")
    assert any(says in str(each) for each in caught.value.diagnostics)
