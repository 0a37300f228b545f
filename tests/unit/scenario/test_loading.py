"""Finding scenarios, choosing targets, references, paths, and what a loaded scenario offers."""

from __future__ import annotations

import dataclasses
import os

import pytest
import yaml

from runner import builtin
from runner.errors import RigError, ScenarioError, UsageError
from runner.scenario.loading import declared_flags, load_scenario
from runner.scenario.schema import EmbeddedLaunch, Requires
from runner.units import parse_bytes

BASE = "scenario: 1\nname: t\nworkload: {model: m}\n"
TARGETS = BASE + "targets: {gpu: {requires: {gpus: 1}, set: {workload.batch: 8}}, cpu: {set: {workload.batch: 2}}}\n"


def no_gpu(requires: Requires):
    return [f"{requires.gpus} GPU needed, none found"] if requires.gpus else []


def test_a_path_a_built_in_and_the_file_at_hand(desk, monkeypatch):
    builtins = desk.folder / "builtins"
    builtins.mkdir()
    (builtins / "efficientnet.yaml").write_text(BASE)
    monkeypatch.setattr(builtin, "asset_root", lambda kind: builtins)
    assert load_scenario(env={}).source == builtins / "efficientnet.yaml"
    assert load_scenario("efficientnet.yaml", env={}).source == builtins / "efficientnet.yaml"
    own = desk.write(BASE)
    assert load_scenario(env={}).source == own
    assert load_scenario(str(own), env={}).root == desk.folder
    with pytest.raises(UsageError, match="no scenario 'efficientnte'") as caught:
        load_scenario("efficientnte", env={})
    assert "efficientnet.yaml" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        load_scenario("nowhere/zzz", env={})
    assert caught.value.hint == "built-in scenarios: efficientnet"


def test_a_folder_is_no_suggestion(tmp_path):
    (tmp_path / "mine.yaml").mkdir()
    with pytest.raises(UsageError, match=r"no scenario '.*mine\.yaml'") as caught:
        load_scenario(tmp_path / "mine.yaml", env={})
    assert "mine.yaml" not in str(caught.value.hint)


def test_a_file_at_hand_is_found_before_a_built_in(desk):
    desk.write(BASE.replace("name: t", "name: mine"), "efficientnet.yaml")
    assert load_scenario("efficientnet.yaml", env={}).scenario.name == "mine"


def test_the_target_is_named_or_the_first_whose_needs_are_met(desk):
    assert desk.load(TARGETS, target="gpu").scenario.workload.batch == 8
    assert desk.load(TARGETS, satisfied=no_gpu).target == "cpu"
    assert desk.load(TARGETS, satisfied=lambda _: []).target == "gpu"
    assert desk.load(TARGETS).target == "cpu"
    loaded = desk.load(TARGETS, satisfied=no_gpu)
    assert loaded.scenario.workload.batch == 2
    assert list(loaded.scenario.targets) == ["cpu"]
    assert loaded.scenario.targets["cpu"].set == {}
    assert list(loaded.targets) == ["gpu", "cpu"]
    assert loaded.launch == EmbeddedLaunch()


def test_without_targets_the_launch_is_embedded(desk):
    loaded = desk.load(BASE, satisfied=no_gpu)
    assert (loaded.target, loaded.launch, dict(loaded.targets)) == (None, EmbeddedLaunch(), {})


def test_targets_that_cannot_be_had(desk):
    with pytest.raises(UsageError, match="no target 'gpuu'") as caught:
        desk.load(TARGETS, target="gpuu")
    assert caught.value.hint == "did you mean gpu?"
    with pytest.raises(RigError, match="gpu: no driver; cpu: no driver"):
        desk.load(TARGETS, satisfied=lambda _: ["no driver"])
    with pytest.raises(UsageError) as caught:
        desk.load(BASE, target="x")
    assert caught.value.hint == "targets: none"


def test_a_target_whose_needs_make_no_sense_is_a_mistake_of_the_file(desk):
    found = desk.mistakes(BASE + "targets: {a: {requires: {gpus: many}}}\n", satisfied=no_gpu)
    assert [(each.code, each.address) for each in found] == [("E112", "targets.a.requires.gpus")]


def test_references_keep_their_type_and_become_text_inside_text(desk):
    text = BASE + (
        "vars: {n: {type: int, default: 4}, t: {type: string, default: 'v${vars.n}-${env.WHO:-all}'},\n"
        "  on: {type: bool, default: true}, w: {type: string, default: '${vars.n}'}, d: {type: string, default: 5s}}\n"
        "load: {concurrency: '${vars.n}'}\n"
        "description: '${vars.t} ${vars.on} $${vars.n} ${run.dir}'\n"
        "measure: {requests: '${env.COUNT:-12}', drain: '${vars.d}'}\n"
    )
    scenario = desk.load(text, env={"WHO": "me"}).scenario
    assert scenario.load.concurrency == 4
    assert scenario.description == "v4-me true ${vars.n} ${run.dir}"
    assert scenario.measure.requests == 12
    assert scenario.measure.drain == 5.0
    assert scenario.vars["w"].default == "4"
    assert desk.load(text, env={"COUNT": "7"}).scenario.measure.requests == 7


def test_facts_of_the_host(desk):
    text = BASE + "load: {concurrency: '${host.cpus}'}\ntargets: {a: {requires: {disk: '${host.memory}'}}}\n"
    loaded = desk.load(text)
    assert loaded.scenario.load.concurrency == len(os.sched_getaffinity(0))
    assert loaded.targets["a"].requires.disk > parse_bytes("1MiB")


def test_steps_stay_symbolic(desk):
    text = BASE + (
        "setup: {a: {kind: fetch, url: u}, b: {kind: script, script: run.py, args: {x: '${setup.a}'}}}\n"
        "repository: {models: {m: {from: model, files: {1/x: '${setup.b}'}}}}\n"
    )
    scenario = desk.load(text).scenario
    assert scenario.setup["b"].args == {"x": "${setup.a}"}
    assert scenario.repository.models["m"].files == {"1/x": "${setup.b}"}


def test_paths_are_relative_to_the_text_that_names_them(desk, monkeypatch):
    lib = desk.folder / "lib"
    (lib / "net").mkdir(parents=True)
    elsewhere = desk.folder / "cwd"
    (elsewhere / "given").mkdir(parents=True)
    desk.write("vars: {dir: {type: string, default: net, flag: --dir}}\n", "lib/base.yaml")
    path = desk.write(
        "extends: [lib/base.yaml]\n" + BASE + "repository: {models: {m: {from: '${vars.dir}'}, n: {from: model}}}\n"
    )
    monkeypatch.chdir(elsewhere)
    models = load_scenario(path, env={}).scenario.repository.models
    assert [each.from_ for each in models.values()] == [str(lib / "net"), str(desk.folder / "model")]
    models = load_scenario(path, env={}, flags={"--dir": "given"}).scenario.repository.models
    assert models["m"].from_ == str(elsewhere / "given")
    loaded = load_scenario(path, env={}, set_=["repository.models.n.from=given"])
    assert loaded.scenario.repository.models["n"].from_ == str(elsewhere / "given")


def test_built_in_files_are_found_by_the_same_names(desk, monkeypatch):
    assets = desk.folder / "assets"
    (assets / "model_repos" / "net" / "pre").mkdir(parents=True)
    (assets / "setup_scripts").mkdir()
    (assets / "setup_scripts" / "export.py").write_text("")
    monkeypatch.setattr("runner.scenario.files.asset_root", lambda kind: assets / kind)
    text = BASE + (
        "setup: {a: {kind: script, script: export.py}, b: {kind: script, script: setup_scripts/export.py}}\n"
        "repository: {models: {m: {from: model_repos/net/pre}}}\n"
    )
    loaded = desk.load(text)
    script = str(assets / "setup_scripts" / "export.py")
    assert [step.script for step in loaded.scenario.setup.values()] == [script, script]
    assert loaded.scenario.repository.models["m"].from_ == str(assets / "model_repos" / "net" / "pre")
    assert loaded.resolve_path("export.py") == assets / "setup_scripts" / "export.py"
    assert loaded.resolve_path("model") == desk.folder / "model"
    assert loaded.resolve_path("/abs") == loaded.resolve_path("/abs/../abs")
    (only,) = desk.mistakes(text.replace("net/pre", "net/pro"))
    assert only.hint == "did you mean `model_repos/net/pre`?"
    (only,) = desk.mistakes(text.replace("script: export.py", "script: exprt.py"))
    assert only.hint == "did you mean `export.py`?"
    assert desk.mistakes(text.replace("model_repos/net/pre", "../model_repos"))[0].code == "E140"


def test_a_path_that_no_file_system_takes(desk):
    (only,) = desk.mistakes(BASE + 'repository: {models: {m: {from: "a\\0b"}}}\n')
    assert only.code == "E140"


def test_other_values_at_some_addresses(desk):
    text = BASE + "vars: {n: {type: int, default: 4}}\nload: {concurrency: '${vars.n}'}\n"
    loaded = desk.load(text)
    assert loaded.at({"vars.n": 9}).load.concurrency == 9
    assert loaded.at({"load.concurrency": 3, "measure.drain": "2s"}).measure.drain == 2.0
    assert loaded.at({}) == loaded.scenario
    assert loaded.scenario.load.concurrency == 4
    assert loaded.at({"server.flags": {"a": 1}}).server.flags == {"a": 1}
    assert loaded.at({"measure.percentiles": [5]}).measure.percentiles == (5,)
    assert loaded.at({"description": "a ${vars.n}"}).description == "a ${vars.n}"
    assert loaded.at({"description": "a ${vars.n}", "vars.n": 3}).description == "a ${vars.n}"


@pytest.mark.parametrize(
    ("overrides", "code", "address"),
    [
        ({"load.concurrency": 0}, "E113", "load.concurrency"),
        ({"load.concurency": 1}, "E130", "load.concurency"),
        ({"vars.m": 1}, "E130", "vars.m"),
        ({"vars.n": "x"}, "E112", "vars.n.default"),
        ({"workload.input.X": {"from": "nowhere"}}, "E140", "workload.input.X.from"),
    ],
)
def test_values_that_cannot_be_had_name_the_address(desk, overrides, code, address):
    loaded = desk.load(BASE + "vars: {n: {type: int, default: 4}}\n")
    with pytest.raises(ScenarioError) as caught:
        loaded.at(overrides)
    assert [(each.code, each.address, each.file) for each in caught.value.diagnostics] == [(code, address, "override")]


def test_the_digest_depends_on_what_is_said_and_not_how(desk):
    digest = desk.load(BASE + "load: {kind: concurrency, concurrency: 4}\n").digest
    assert desk.load(BASE + "load:\n  concurrency: 4  # in other words\n").digest == digest
    assert desk.load(BASE, set_=["load.concurrency=4"]).digest == digest
    assert desk.load(BASE).digest != digest
    assert len(digest) == 64


def test_a_loaded_scenario_is_frozen(desk):
    loaded = desk.load(BASE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.target = "x"
    with pytest.raises(ValueError, match="frozen"):
        loaded.scenario.name = "x"


def test_declared_flags_come_even_from_a_file_with_mistakes(desk):
    path = desk.write(
        "vars: {a: {type: int, default: '${host.cpus}', flag: --a}, b: {type: int, default: x, flag: --b},\n"
        "  c: {type: bool, default: true}}\nnonsense: 1\n"
    )
    flags = declared_flags(path)
    assert list(flags) == ["--a", "--b"]
    assert (flags["--a"].type, flags["--b"].flag) == ("int", "--b")
    assert declared_flags(desk.write(BASE)) == {}
    with pytest.raises(ScenarioError):
        declared_flags(desk.write("a: [\n"))
    with pytest.raises(UsageError):
        declared_flags("nowhere")


def test_flags_of_a_loaded_scenario(desk):
    loaded = desk.load(BASE + "vars: {n: {type: int, default: 4, flag: --n}, m: {type: int, default: 1}}\n")
    assert {flag: var.default for flag, var in loaded.flags().items()} == {"--n": 4}


def test_the_public_names_are_lazy():
    import runner
    from runner.scenario import loading

    assert runner.load_scenario is loading.load_scenario


def test_a_dump_is_plain_yaml(desk):
    text = desk.load(BASE + "measure: {drain: 200ms}\nmatrix: {axes: {load.concurrency: {pow2: [1, 4]}}}\n").dump()
    plain = yaml.safe_load(text)
    assert plain["measure"]["drain"] == "200ms"
    assert plain["matrix"]["axes"] == {"load.concurrency": {"pow2": [1, 4]}}


def test_a_file_that_is_not_yaml(desk):
    (only,) = desk.mistakes("a: [\n")
    assert (only.code, only.file, only.line) == ("E100", "scenario.yaml", 1)
