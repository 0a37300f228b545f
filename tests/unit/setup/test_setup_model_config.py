"""Overrides of config.pbtxt by protobuf field names, and the checks of ensembles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from runner.setup.ensemble import check_ensembles
from runner.setup.model_config import Problems, apply_args, apply_overrides, read_config, render

BASE = """
max_batch_size: 4
input [ { name: "X" data_type: TYPE_FP32 dims: [ 3 ] } ]
instance_group [ { kind: KIND_CPU count: 1 }, { kind: KIND_GPU gpus: [ 0 ] } ]
parameters { key: "kept" value { string_value: "1" } }
dynamic_batching { preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 9 }
"""


def merged(overrides: dict[str, Any], base: str = BASE) -> Any:
    config, problems = text_format.Parse(base, ModelConfig()), Problems()
    apply_overrides(config, overrides, "c", problems)
    assert problems == []
    return config


def refused(overrides: dict[str, Any]) -> list[str]:
    problems = Problems()
    apply_overrides(text_format.Parse(BASE, ModelConfig()), overrides, "c", problems)
    return list(problems)


def test_scalars_enums_and_messages_merge() -> None:
    config = merged(
        {"max_batch_size": 16, "dynamic_batching": {"max_queue_delay_microseconds": 500}, "backend": "python"}
    )
    assert (config.max_batch_size, config.backend) == (16, "python")
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert list(config.dynamic_batching.preferred_batch_size) == [2, 4]


def test_an_empty_mapping_switches_on_and_null_switches_off() -> None:
    assert merged({"dynamic_batching": {}}, base="max_batch_size: 1").HasField("dynamic_batching")
    assert not merged({"dynamic_batching": None}).HasField("dynamic_batching")


def test_lists_replace_and_maps_merge() -> None:
    config = merged(
        {
            "instance_group": [{"kind": "KIND_CPU", "count": 3}],
            "parameters": {"new": {"string_value": "2"}},
            "dynamic_batching": {"preferred_batch_size": [8], "priority_queue_policy": {1: {"max_queue_size": 5}}},
        }
    )
    assert [(group.kind, group.count) for group in config.instance_group] == [(2, 3)]
    assert {key: value.string_value for key, value in config.parameters.items()} == {"kept": "1", "new": "2"}
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert config.dynamic_batching.priority_queue_policy[1].max_queue_size == 5


def test_a_map_entry_can_be_removed() -> None:
    assert not merged({"parameters": {"kept": None}}).parameters


def test_single_elements_of_a_list_can_be_changed_by_index() -> None:
    config = merged({"instance_group": {"0": {"count": 7}, 2: {"count": 1}}})
    assert [group.count for group in config.instance_group] == [7, 0, 1]
    assert config.instance_group[0].kind == 2, "the rest of the element stays"


def test_arguments_become_parameters() -> None:
    config = merged({})
    apply_args(config, {"num_threads": 4, "fast": True, "load": 0.8, "kept": "x"})
    values = {key: value.string_value for key, value in config.parameters.items()}
    assert values == {"num_threads": "4", "fast": "true", "load": "0.8", "kept": "x"}
    assert text_format.Parse(render(config), ModelConfig()) == config


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"max_batch_sise": 1}, "c.max_batch_sise: ModelConfig has no such field (did you mean `max_batch_size`?)"),
        ({"max_batch_size": "many"}, "c.max_batch_size: "),
        ({"max_batch_size": 1.5}, "c.max_batch_size: "),
        ({"max_batch_size": True}, "c.max_batch_size: "),
        (
            {"dynamic_batching": {"max_queue_delay": 1}},
            "c.dynamic_batching.max_queue_delay: ModelDynamicBatching has no",
        ),
        ({"dynamic_batching": True}, "c.dynamic_batching: expected a mapping of ModelDynamicBatching, got True"),
        ({"instance_group": [{"kind": "KIND_CPUS"}]}, "c.instance_group.0.kind: 'KIND_CPUS' is none of KIND_AUTO"),
        ({"instance_group": [3]}, "c.instance_group.0: expected a mapping of ModelInstanceGroup, got 3"),
        ({"instance_group": 3}, "c.instance_group: expected a list, got 3"),
        ({"instance_group": {5: {"count": 1}}}, "c.instance_group.5: expected an index from 0 to 2"),
        ({"instance_group": {0: 1}}, "c.instance_group.0: only elements that are mappings"),
        ({"parameters": {"x": "1"}}, "c.parameters.x: expected a mapping of ModelParameter, got '1'"),
        ({"parameters": [1]}, "c.parameters: expected a mapping, got [1]"),
        ({"input": [{"dims": ["x"]}]}, "c.input.0.dims.0: "),
        (
            {"dynamic_batching": {"priority_queue_policy": {"x": {}}}},
            "c.dynamic_batching.priority_queue_policy.x: expected a",
        ),
        ({"cc_model_filenames": {"7.0": 3}}, "c.cc_model_filenames.7.0: "),
    ],
)
def test_mistakes_have_an_address(overrides: dict[str, Any], problem: str) -> None:
    [found] = refused(overrides)
    assert found.startswith(problem)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(refused({"max_batch_sise": 1, "backend": [], "instance_group": [{"cont": 1}, {"kind": "X"}]})) == 4


def test_an_unreadable_file_is_a_problem_with_its_line(tmp_path: Path) -> None:
    problems = Problems()
    read_config(tmp_path / "config.pbtxt", "repository.models.m", problems)
    (tmp_path / "config.pbtxt").write_text('backend: "x"\ninstance_group [ { knd: KIND_CPU } ]\n')
    read_config(tmp_path / "config.pbtxt", "repository.models.m", problems)
    (tmp_path / "config.pbtxt").write_text("{{{")
    read_config(tmp_path / "config.pbtxt", "repository.models.m", problems)
    assert "has no config.pbtxt" in problems[0]
    assert "config.pbtxt:2:" in problems[1]
    assert "(did you mean `kind`?)" in problems[1]
    assert len(problems) == 3


# --- ensembles ---

DECODE = """max_batch_size: 8
input [ { name: "BYTES" data_type: TYPE_UINT8 dims: [ -1 ] },
  { name: "HINT" data_type: TYPE_INT32 dims: [ 1 ] optional: true } ]
output [ { name: "PIXELS" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] } ]"""
CLASSIFY = """max_batch_size: 8
input [ { name: "IMAGE" data_type: TYPE_FP32 dims: [ 3, 224, 224 ] } ]
output [ { name: "LOGITS" data_type: TYPE_FP32 dims: [ 1000 ] } ]"""
ENSEMBLE = """platform: "ensemble" max_batch_size: 8
input [ { name: "IN" data_type: TYPE_UINT8 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 1000 ] } ]
ensemble_scheduling { step [
  { model_name: "classify" input_map { key: "IMAGE" value: "pixels" } output_map { key: "LOGITS" value: "OUT" } },
  { model_name: "decode" input_map { key: "BYTES" value: "IN" } output_map { key: "PIXELS" value: "pixels" } } ] }"""


def ensemble(**changes: tuple[str, str]) -> list[str]:
    """Problems of the pipeline with one text replaced in one of its three files."""
    texts = {"decode": DECODE, "classify": CLASSIFY, "both": ENSEMBLE}
    for name, (old, new) in changes.items():
        assert old in texts[name]
        texts[name] = texts[name].replace(old, new, 1)
    problems = Problems()
    check_ensembles({name: text_format.Parse(text, ModelConfig()) for name, text in texts.items()}, problems)
    return list(problems)


def test_a_sound_ensemble_has_no_problem_whatever_the_order_of_its_steps() -> None:
    assert ensemble() == []


WHERE = "repository.models.both.ensemble_scheduling"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"both": ('"decode"', '"decod"')},
            f"{WHERE}.step.1.model_name: the repository has no model `decod` (did you mean `decode`?)",
        ),
        (
            {"both": ('key: "IMAGE"', 'key: "IMGE"')},
            f"{WHERE}.step.0.input_map: classify has no input `IMGE` (did you mean `IMAGE`?)",
        ),
        (
            {"both": ('key: "PIXELS"', 'key: "PIXEL"')},
            f"{WHERE}.step.1.output_map: decode has no output `PIXEL` (did you mean `PIXELS`?)",
        ),
        (
            {"both": ('value: "pixels"', 'value: "pixel"')},
            f"{WHERE}.step.0.input_map.IMAGE: nothing makes `pixel`, which classify reads",
        ),
        (
            {"both": ('input_map { key: "BYTES" value: "IN" }', "")},
            f"{WHERE}.step.1.input_map: input `BYTES` of decode is not fed",
        ),
        (
            {"both": ('value: "OUT"', 'value: "OUTT"')},
            f"{WHERE}: no step makes the output `OUT` (did you mean `OUTT`?)",
        ),
        ({"both": ('value: "OUT"', 'value: "IN"')}, f"{WHERE}.step.0.output_map: `IN` is made twice"),
        (
            {"both": ("max_batch_size: 8", "max_batch_size: 9")},
            "repository.models.both.config.max_batch_size: 9 is more than the 8 of",
        ),
        (
            {"classify": ("TYPE_FP32", "TYPE_FP16")},
            f"{WHERE}.step.0.input_map.IMAGE: expected TYPE_FP16 [-1, 3, 224, 224]",
        ),
        (
            {"classify": ("[ 3, 224, 224 ]", "[ 4, 224, 224 ]")},
            f"{WHERE}.step.0.input_map.IMAGE: expected TYPE_FP32 [-1, 4, 224, 224]",
        ),
        ({"classify": ("[ 3, 224, 224 ]", "[ 3, 224 ]")}, f"{WHERE}.step.0.input_map.IMAGE: expected"),
        (
            {"both": ("dims: [ 1000 ]", "dims: [ 10 ]")},
            f"{WHERE}: expected TYPE_FP32 [-1, 10] (output OUT of both), got",
        ),
        ({"both": ("TYPE_UINT8", "TYPE_STRING")}, f"{WHERE}.step.1.input_map.BYTES: expected TYPE_UINT8 [-1, -1]"),
    ],
)
def test_breaks_in_the_chain_are_found(change: dict[str, tuple[str, str]], problem: str) -> None:
    found = ensemble(**change)
    assert any(line.startswith(problem) for line in found), found


def test_an_ensemble_without_steps_is_a_problem() -> None:
    problems = Problems()
    check_ensembles({"e": text_format.Parse('platform: "ensemble"', ModelConfig())}, problems)
    assert "needs at least one step" in problems[0]
