"""Precedence of the layers, what each address means, and how maps lie over one another."""

from __future__ import annotations

import itertools

import pytest

from runner.errors import UsageError

BASE = "scenario: 1\nname: t\nworkload: {model: m}\n"
LAYERS = ("default", "extends", "file", "target cpu", "values", "environment", "env", "flag", "set")
"""Low to high; each sets `vars.n` to its index (the default is the lowest one that can be given)."""


def laid(desk, names):
    """Load a scenario in which exactly the named layers set `vars.n`."""
    declared = "vars: {n: {type: int, default: 0, flag: --n, env: N}}\n"
    desk.write(declared, "declared.yaml")
    desk.write("vars: {n: 1}\n", "base.yaml")
    desk.write("vars: {n: 4}\n", "values.yaml")
    bases = ["declared.yaml", *(["base.yaml"] if "extends" in names else [])]
    text = f"extends: [{', '.join(bases)}]\n" + BASE
    text += "vars: {n: 2}\n" if "file" in names else ""
    text += f"targets: {{cpu: {{{'set: {vars.n: 3}' if 'target cpu' in names else ''}}}}}\n"
    env = {"SCENARIO__VARS__N": "5"} if "environment" in names else {}
    env |= {"N": "6"} if "env" in names else {}
    return desk.load(
        text,
        values=[desk.folder / "values.yaml"] if "values" in names else [],
        env=env,
        flags={"--n": "7"} if "flag" in names else {},
        set_=["vars.n=8"] if "set" in names else [],
    )


@pytest.mark.parametrize(("low", "high"), list(itertools.combinations(LAYERS, 2)))
def test_the_higher_of_two_layers_wins(desk, low, high):
    loaded = laid(desk, {low, high})
    assert loaded.scenario.vars["n"].default == LAYERS.index(high)
    settings = loaded.explain("vars.n")
    assert [setting.layer for setting in settings if setting.layer in (low, high)][-1] == high
    assert [setting.wins for setting in settings] == [False] * (len(settings) - 1) + [True]
    assert settings[-1].value == LAYERS.index(high)


def test_explain_lists_every_layer_with_its_place(desk):
    settings = laid(desk, set(LAYERS)).explain("vars.n")
    assert [(each.layer, each.value, each.place) for each in settings] == [
        ("extends", 0, "declared.yaml:1:32"),
        ("extends", 1, "base.yaml:1:11"),
        ("file", 2, "scenario.yaml:5:11"),
        ("target cpu", 3, "scenario.yaml:6:31"),
        ("values", 4, "values.yaml:1:11"),
        ("environment", 5, "SCENARIO__VARS__N 5"),
        ("env", 6, "N 6"),
        ("flag", 7, "--n 7"),
        ("set", 8, "--set vars.n=8"),
    ]
    assert settings[-1].as_dict() == {"layer": "set", "value": 8, "place": "--set vars.n=8", "wins": True}


def test_explain_of_defaults_maps_and_nothing(desk):
    loaded = desk.load(BASE, set_=["measure.window.min=1s"])
    assert [(each.layer, each.value) for each in loaded.explain("measure.drain")] == [("default", "10s")]
    unset = dict.fromkeys(("min", "max", "min_completions", "min_batches"))
    assert [each.value for each in loaded.explain("measure.window")] == [unset, {"min": "1s"}]
    assert loaded.explain("workload.model")[0].place == "scenario.yaml:3:19"
    with pytest.raises(UsageError, match=r"unknown address 'measure\.drian'") as caught:
        loaded.explain("measure.drian")
    assert "measure.drain" in caught.value.hint
    with pytest.raises(UsageError, match="there is no setup step `x`"):
        loaded.explain("setup.x.url")


def test_maps_merge_and_lists_replace(desk):
    desk.write("server: {flags: {a: 1, b: 2}, load: [m, x]}\nmeasure: {percentiles: [1, 2, 3]}\n", "base.yaml")
    text = "extends: [base.yaml]\n" + BASE + "server: {flags: {b: 3, c: 4}}\nmeasure: {percentiles: [9]}\n"
    scenario = desk.load(text).scenario
    assert scenario.server.flags == {"a": 1, "b": 3, "c": 4}
    assert scenario.server.load == ("m", "x")
    assert scenario.measure.percentiles == (9,)
    assert scenario.extends == ()


def test_null_removes_an_entry_of_a_map_of_names_and_else_sets_null(desk):
    text = BASE + "server: {flags: {a: 1, b: 2}}\nmeasure: {requests: 5}\nmatrix: {axes: {load.concurrency: [1, 2]}}\n"
    scenario = desk.load(
        text, set_=["server.flags.a=null", "measure.requests=~", "matrix.axes.load.concurrency=null"]
    ).scenario
    assert scenario.server.flags == {"b": 2}
    assert scenario.measure.requests is None
    assert scenario.matrix.axes == {}


def test_another_kind_starts_the_map_afresh(desk):
    text = BASE + (
        "setup: {a: {kind: dataset, source: synthetic_jpeg, count: 3}, b: {kind: fetch, url: u, sha256: null}}\n"
        "vars: {v: {type: int, default: 3, max: 5}}\n"
    )
    scenario = desk.load(
        text,
        set_=[
            "setup.a={kind: dataset, source: folder, path: model}",
            "setup.b.kind=script",
            "setup.b.script=run.py",
            "vars.v.type=string",
            "vars.v.default=x",
        ],
    ).scenario
    assert scenario.setup["a"].path == str(desk.folder / "model")
    assert scenario.setup["b"].script == str(desk.folder / "run.py")
    assert scenario.vars["v"].default == "x"


def test_another_form_of_axis_or_input_starts_the_map_afresh(desk):
    text = BASE + "matrix: {axes: {load.concurrency: {pow2: [1, 4]}}}\n"
    loaded = desk.load(text, set_=["matrix.axes.load.concurrency={int: [1, 3]}", "workload.input.X={generate: zero}"])
    assert loaded.scenario.matrix.axes["load.concurrency"].int == (1, 3)
    changed = loaded.at({"workload.input.X": {"from": "model"}})
    assert changed.workload.input["X"].from_ == str(desk.folder / "model")


def test_a_list_item_by_index(desk):
    text = BASE + "repository: {models: {m: {from: model, config: {instance_group: [{count: 1}, {count: 2}]}}}}\n"
    address = "repository.models.m.config.instance_group"
    config = desk.load(text, set_=[f"{address}.1.count=4"]).scenario.repository.models["m"].config
    assert config["instance_group"] == [{"count": 1}, {"count": 4}]
    config = desk.load(text, set_=["repository.models.m.config.other.0.count=4"]).scenario.repository.models["m"].config
    assert config["other"] == [{"count": 4}]


def test_keys_with_dots(desk):
    text = BASE + (
        "repository: {models: {m: {from: model, files: {1/a.plan: run.py}}, a.b: {from: model}}}\n"
        "matrix: {axes: {workload.batch: [1, 2]}}\n"
    )
    scenario = desk.load(
        text,
        set_=[
            "repository.models.m.files.1/a.plan=model",
            "repository.models.m.files.2/b.plan=run.py",
            "repository.models.a.b.args.x.y=1",
            "matrix.axes.workload.batch=[4]",
            "matrix.axes.load.concurrency=[8]",
            "measure.precision.percentiles.p99.9=5%",
        ],
    ).scenario
    assert scenario.repository.models["m"].files == {
        "1/a.plan": str(desk.folder / "model"),
        "2/b.plan": str(desk.folder / "run.py"),
    }
    assert scenario.repository.models["a.b"].args == {"x.y": 1}
    assert scenario.matrix.axes == {"workload.batch": (4,), "load.concurrency": (8,)}
    assert scenario.measure.precision.percentiles == {"p99.9": 0.05}


def test_the_environment_spells_known_keys_freely(desk):
    text = BASE + "server: {flags: {log-verbose: 0}}\nmatrix: {axes: {workload.batch: [1]}}\n"
    scenario = desk.load(
        text,
        env={
            "SCENARIO__SERVER__FLAGS__LOG_VERBOSE": "2",
            "SCENARIO__MATRIX__AXES__WORKLOAD__BATCH": "[2, 4]",
            "SCENARIO__MEASURE__PERCENTILES": "[75]",
            "SCENARIO_HOME": "/elsewhere",
        },
    ).scenario
    assert scenario.server.flags == {"log-verbose": 2}
    assert scenario.matrix.axes == {"workload.batch": (2, 4)}
    assert scenario.measure.percentiles == (75,)


def test_text_variables_take_text_as_it_stands(desk):
    text = BASE + "vars: {tag: {type: string, default: a, flag: --tag, env: TAG}, on: {type: bool, default: false}}\n"
    assert desk.load(text, set_=["vars.tag=26.10"]).scenario.vars["tag"].default == "26.10"
    assert desk.load(text, flags={"--tag": "010"}).scenario.vars["tag"].default == "010"
    assert desk.load(text, flags={"tag": "[x"}).scenario.vars["tag"].default == "[x"
    assert desk.load(text, env={"TAG": "1e3"}).scenario.vars["tag"].default == "1e3"
    assert desk.load(text, env={"TAG": ""}).scenario.vars["tag"].default == "a"
    assert desk.load(text, flags={"on": "true"}).scenario.vars["on"].default is True


def test_a_target_sets_what_layers_above_it_may_change(desk):
    text = BASE + "targets: {a: {set: {load.concurrency: 2, workload.batch: 2}}}\n"
    scenario = desk.load(text, set_=["targets.a.set.workload.batch=3", "load.concurrency=9"]).scenario
    assert (scenario.load.concurrency, scenario.workload.batch) == (9, 3)


@pytest.mark.parametrize("option", ["load.concurrency", "=4", ""])
def test_an_option_that_sets_nothing(desk, option):
    with pytest.raises(UsageError, match="sets nothing"):
        desk.load(BASE, set_=[option])


def test_values_files_that_are_missing_or_broken(desk):
    with pytest.raises(UsageError, match=r"no file 'nope\.yaml' for --values"):
        desk.load(BASE, values=["nope.yaml"])
    (only,) = desk.mistakes(BASE, values=[desk.write("- 1\n", "list.yaml")])
    assert (only.code, only.file) == ("E102", "list.yaml")


def test_an_unknown_flag(desk):
    text = BASE + "vars: {n: {type: int, default: 0, flag: --max-batch}}\n"
    with pytest.raises(UsageError, match="declares --max-bach") as caught:
        desk.load(text, flags={"--max-bach": "1"})
    assert caught.value.hint == "did you mean --max-batch?"


def test_a_file_merges_maps_and_an_address_replaces_them(desk):
    text = BASE + "matrix: {axes: {load.concurrency: [1, 2], workload.batch: [1, 2]}}\n"
    values = desk.folder / "more.yaml"
    values.write_text("matrix: {axes: {workload.batch: [4]}}\n")
    merged = desk.load(text, values=[values]).scenario.matrix.axes
    assert dict(merged) == {"load.concurrency": (1, 2), "workload.batch": (4,)}
    replaced = desk.load(text, set_=["matrix.axes={workload.batch: [4]}"]).scenario.matrix.axes
    assert dict(replaced) == {"workload.batch": (4,)}


def test_a_digit_that_is_no_number_names_no_item_of_a_list(desk):
    text = BASE + "matrix: {skip: ['workload.batch > 4']}\n"
    [only] = desk.mistakes(text, env={"SCENARIO__MATRIX__SKIP__²": "workload.batch > 5"})
    assert (only.address, only.message) == ("matrix.skip", "expected a list, got a map")


def test_a_target_that_is_not_chosen_is_tried_below_the_options(desk):
    """An option that exchanges a step takes nothing away from a target that sets something in the old one."""
    (desk.folder / "photos").mkdir()
    text = BASE + "setup: {images: {kind: dataset, source: synthetic_jpeg, count: 4}}\n"
    text += "targets: {a: {}, b: {set: {setup.images.width: [320, 640]}}}\n"
    option = "setup.images={kind: dataset, source: folder, path: photos}"
    for target in ("a", "b"):
        loaded = desk.load(text, target=target, set_=[option])
        assert loaded.scenario.setup["images"].source == "folder"


def test_an_empty_values_file_is_told_to_hold_overrides_and_not_a_scenario(desk):
    for text in ("", "# nothing yet\n"):
        (only,) = desk.mistakes(BASE, values=[desk.write(text, "empty.yaml")])
        assert only.message == "expected a map of keys at the top, got an empty file"
        assert only.hint == "write the values to override, such as `workload: {batch: 4}`"
    (only,) = desk.mistakes("")
    assert only.hint == "start with `scenario: 1` and `name: …`"
