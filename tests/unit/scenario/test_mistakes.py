"""Every kind of mistake: its code, its line and column, and what the user reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = "scenario: 1\nname: t\nworkload: {model: m}\n"
"""Three lines, so what a row adds starts in line 4."""

ENGINE = "setup: {b: {kind: fetch, url: x}, a: {kind: tensorrt, from: '${setup.b}', "

ROWS = [
    ("lod: {concurrency: 1}", "E110", 4, 1, "unknown key `lod`", "did you mean `load`?"),
    ("server:\n  raedy: {}", "E110", 5, 3, "unknown key `raedy`", "did you mean `ready`"),
    ("server: {trace: {level: all}}", "E113", 4, 25, "expected one of off, timestamps, tensors, got", None),
    ("server: {trace: {level: []}}", "E113", 4, 25, "expected at least 1 value, got none", None),
    ("server: {trace: {rate: 0}}", "E113", 4, 24, "expected at least 1, got 0", None),
    ("load: {rat: 5}", "E110", 4, 8, "unknown key `rat`", "did you mean `rate`?"),
    ("load: {rate: 5/s}", "E111", 4, 1, "missing key `kind` in `load`", "add `kind: …`"),
    ("load: {kind: poisson, rate: 50}", "E114", 4, 29, "expected a rate such as 50/s", "write 50/s"),
    ("load: {kind: poisson, rate: 0/s}", "E113", 4, 29, "expected more than 0", None),
    ("load: {kind: gamma, rate: 5/s}", "E111", 4, 1, "missing key `cv` in `load`", None),
    ("load: {kind: constant, rate: 5/s, cv: 2}", "E110", 4, 35, "unknown key `cv`", None),
    ("load: {kind: periodic, start: 4, end: 2}", "E113", 4, 39, "expected at least the `start` of 4, got 2", None),
    ("load: {kind: periodic, start: 1, end: 4, step: 2}", "E113", 4, 39, "expected whole steps of 2", "write 3 or 5"),
    ("load: {kind: replay, file: nowhere.txt}", "E140", 4, 28, "there is no file `nowhere.txt`", None),
    ("load: {concurrency: 0}", "E113", 4, 21, "expected at least 1, got 0", None),
    ("load: {concurrency: 100001}", "E113", 4, 21, "expected at most 100000", None),
    ("load: {concurrency: '4'}", "E112", 4, 21, 'expected a whole number, got "4"', "remove the quotes"),
    ("load: {concurrency: 010}", "E112", 4, 21, 'expected a whole number, got "010"', "remove the leading zero"),
    ("load: {concurrency: 1.5}", "E112", 4, 21, "expected a whole number, got 1.5", None),
    ("load: {concurrency: true}", "E112", 4, 21, "expected a whole number, got true", None),
    ("load: {concurrency: }", "E112", 4, 21, "expected a whole number, got nothing", "remove the key"),
    ("load: {concurrency: [1, 4]}", "E112", 4, 21, "expected a whole number, got a list", None),
    ("load: {kind: concurency}", "E115", 4, 14, "expected one of concurrency, constant", "did you mean `concurrency`?"),
    ("load: 4", "E112", 4, 7, "expected a map, got 4", None),
    ("matrix: {skip: {a: b}}", "E112", 4, 16, "expected a list", None),
    ("description: 4.10", "E112", 4, 14, "expected text, got 4.1", 'write "4.10"'),
    ("setup: {a: {kind: fetch, url: x, always: yes}}", "E112", 4, 42, "expected true or false", "write true"),
    ("measure: {drain: 10}", "E114", 4, 18, "got the bare number 10", "write 10s"),
    ("measure: {drain: 10S}", "E114", 4, 18, 'got "10S"', "write 10s"),
    ("measure: {max_error_rate: 0.05}", "E114", 4, 27, "a share such as 5%", "write 5%"),
    ("measure: {percentiles: 99}", "E112", 4, 24, "expected a list, got 99", None),
    ("measure: {percentiles: [50, 100]}", "E113", 4, 29, "expected less than 100, got 100", None),
    ("measure: {window: {min: 5s, max: 1s}}", "E113", 4, 34, "expected at least the `min` of 5s, got 1s", None),
    ("measure: {precision: {percentiles: {q99: 5%}}}", "E113", 4, 37, "a percentile such as p99", None),
    ("report: {formats: [cvs]}", "E113", 4, 20, "expected one of console, csv, json", "did you mean `csv`?"),
    ("vars: {a: {type: int}}", "E111", 4, 8, "missing key `default` in `vars.a`", "add `default: …`"),
    ("vars: {a: {default: 1}}", "E111", 4, 8, "missing key `type` in `vars.a`", "add `type: …`"),
    ("vars: {a: {type: integer, default: 1}}", "E115", 4, 18, "expected one of int, float", "did you mean"),
    ("vars: {a: {type: int, default: 9, max: 8}}", "E113", 4, 32, "expected at most 8, got 9", None),
    ("vars: {a: {type: int, default: 1, min: 2}}", "E113", 4, 32, "expected at least 2, got 1", None),
    ("vars: {a: {type: float, default: 1, min: 3, max: 2}}", "E113", 4, 50, "at least the lower end 3", None),
    ("vars: {a: {type: enum, of: [x, y], default: z}}", "E113", 4, 45, 'expected one of x, y, got "z"', None),
    ("vars: {a: {type: int, default: 1, flag: max}}", "E113", 4, 41, "an option such as --max-batch", None),
    ("vars: {a: {type: int, default: 1, env: max}}", "E113", 4, 40, "an upper-case name", None),
    ("vars: {a: 4}", "E112", 4, 11, "expected a map, got 4", "declare it: `a: {type: int, default: 4}`"),
    ("vars: {1a: {type: int, default: 1}}", "E113", 4, 8, "a name of letters", None),
    (
        "vars: {a: {type: int, default: 1, flag: --x}, b: {type: int, default: 1, flag: --x}}",
        *("E113", 4, 80, "`--x` already sets the variable `a`", "choose another name"),
    ),
    ("setup: {a: {kind: burst}}", "E115", 4, 19, "expected one of fetch, export, dataset, script", None),
    (ENGINE + "profile: {opt: 9, max: 8}}}", "E113", 4, 98, "at least the lower end 9", None),
    (ENGINE + "profile: []}}", "E112", 4, 84, "expected `{min: 1, opt: 8, max: 32}`", None),
    (ENGINE + "profile: {X: {min: [1], opt: [1], max: [1, 2]}}}}", "E113", 4, 114, "expected 1 dimensions", None),
    (
        ENGINE + "profile: {X: {min: [1], opt: [4], max: [2]}}}}",
        "E113",
        4,
        114,
        "at least 4 in dimension 0, got 2",
        None,
    ),
    (ENGINE + "timing_cache: near}}", "E113", 4, 89, "expected shared, none or an absolute path", None),
    (
        ENGINE + "verify: {against: '${setup.b}', top1_agreement: null}}}",
        "E113",
        4,
        123,
        "something to judge by",
        "write `atol`",
    ),
    ("setup: {a: {kind: dataset, source: folder}}", "E111", 4, 9, "missing key `path`", None),
    ("setup: {a: {kind: dataset, source: sintetic_jpeg}}", "E115", 4, 36, "synthetic_jpeg", "did you mean"),
    ("setup: {a: {kind: dataset, source: synthetic_jpeg, cuont: 3}}", "E110", 4, 52, "`cuont`", "`count`"),
    (
        "setup: {a: {kind: dataset, source: synthetic_jpeg, width: [99, 50]}}",
        *("E113", 4, 59, "at least the lower end 99, got 50", None),
    ),
    ("setup: {a: {kind: dataset, source: synthetic_jpeg, width: [99]}}", "E113", 4, 59, "expected 2 values", None),
    ("setup: {a: {kind: dataset, source: synthetic_jpeg, width: [16, 17, 18]}}", "E113", 4, 59, "at most 2", None),
    ("setup: {a: {kind: fetch, url: x, sha256: abc}}", "E113", 4, 42, "64 lower-case hexadecimal", None),
    (f"name: {'n' * 65}", "E103", 4, 1, "given twice", None),
    ("setup: {a: {kind: script, script: nope.py}}", "E140", 4, 35, "there is no file `nope.py`", None),
    ("setup: {a: {kind: script, script: runn.py}}", "E140", 4, 35, "there is no file", "did you mean `run.py`?"),
    ("setup: {a: {kind: script, script: model}}", "E141", 4, 35, "expected a file, got the folder", None),
    ("setup: {a: {kind: script, script: ''}}", "E140", 4, 35, "expected a path, got an empty text", None),
    ("setup: {a: {kind: dataset, source: folder, path: run.py}}", "E141", 4, 50, "expected a folder", None),
    ("setup: {a: {kind: dataset, source: folder, path: /no/such}}", "E140", 4, 50, "no folder `/no/such`", None),
    (
        "setup: {a: {kind: script, script: run.py, args: {x: [1]}}}",
        *("E112", 4, 53, "expected true or false, a whole number, a number or text, got a list", None),
    ),
    (
        'setup: {a: {kind: script, script: run.py, args: {x: "${setup.a}"}}}',
        *("E121", 4, 9, "refer to each other: a -> a", None),
    ),
    ("repository: {models: {m: {from: nodel}}}", "E140", 4, 33, "no folder `nodel`", "did you mean `model`?"),
    ("repository: {models: {n: {from: model}}}", "E120", 3, 19, "no model `m` in", "known here: n"),
    ("repository: {models: {m: {from: model}}}\nserver: {load: [nn]}", "E120", 5, 17, "there is no model `nn`", None),
    ("extends: [nope.yaml]", "E140", 4, 11, "no scenario `nope.yaml` to extend", None),
    ("extends: nope.yaml", "E112", 4, 10, "expected a list", None),
    ("extends: [3]", "E112", 4, 11, "expected text, got 3", None),
    ("extends: [scenario.yaml]", "E121", 4, 11, "extend each other: scenario.yaml -> scenario.yaml", None),
    ('load: {concurrency: "${vars.n}"}', "E120", 4, 22, "unknown variable `n`", "declare it under `vars`"),
    ('load: {concurrency: "${env.NOPE}"}', "E120", 4, 22, "NOPE is not set", "set it, or write ${env.NOPE:-default}"),
    ('load: {concurrency: "${env.a b}"}', "E122", 4, 22, "not the name of an environment variable", None),
    ('load: {concurrency: "${host.cpu}"}', "E120", 4, 22, "unknown fact `host.cpu`", "did you mean `cpus`?"),
    ('load: {concurrency: "${var.x}"}', "E120", 4, 22, "unknown reference", "did you mean `vars`"),
    ('description: "a ${run.dri} b"', "E120", 4, 17, "unknown reference", "${run.dir}"),
    ('description: "${vars.x"', "E122", 4, 15, "no closing brace", "write `$${`"),
    ('description: "$${setup.a}"', "E122", 4, 15, "cannot be escaped", None),
    ('setup: {a: {kind: fetch, url: "${setup.b}"}}', "E120", 4, 32, "unknown setup step `b`", None),
    ('vars: {a: {type: int, default: "${vars.a}"}}', "E121", 4, 33, "refer to each other: a -> a", None),
    ("targets: {t: {rig: {lock_clocks: fast}}}", "E114", 4, 34, "expected `base`, `max`, or MHz such as 1410", None),
    ("targets: {t: {rig: {lock_clocks: {memory: max}}}}", "E112", 4, 43, "expected a whole number", None),
    ("targets: {t: {rig: {power_limit: 250}}}", "E114", 4, 34, "a power such as 250W", "write 250W"),
    ("targets: {t: {rig: {server_cpus: 7-0}}}", "E114", 4, 34, "a list of CPUs such as 0-7", None),
    ("targets: {t: {rig: {server_cpus: [0, x]}}}", "E114", 4, 34, "a list of CPUs such as 0-7", None),
    ("targets: {t: {rig: {client_cpus: {numa: 0}}}}", "E114", 4, 34, "a list of CPUs such as 0-7", None),
    (
        "targets: {t: {rig: {server_cpus: 0}, launch: {kind: docker, image: i, cpuset: '1'}}}",
        *("E113", 4, 20, "the server's CPUs in one place, got launch.cpuset and rig.server_cpus", None),
    ),
    (
        "targets: {t: {rig: {server_cpus: 0}, launch: {kind: remote, url: host}}}",
        *("E113", 4, 20, "nothing but `client_cpus` for a remote server", None),
    ),
    ("matrix: {axes: {load.concurency: [1]}}", "E130", 4, 17, "unknown address", "did you mean `load.concurrency`"),
    ("matrix: {axes: {concurrency: [1]}}", "E130", 4, 17, "unknown address", "did you mean `load.concurrency`"),
    ("matrix: {axes: {load..x: [1]}}", "E130", 4, 17, "is not an address", None),
    ("matrix: {axes: {load.concurrency: [1, zwei]}}", "E112", 4, 39, 'expected a whole number, got "zwei"', None),
    ("matrix: {axes: {load.concurrency: [1, 4, 1]}}", "E131", 4, 42, "the value 1 is given twice", None),
    ("matrix: {axes: {load.concurrency: []}}", "E113", 4, 35, "expected at least 1 value, got none", None),
    ("matrix: {axes: {load.concurrency: 4}}", "E112", 4, 35, "expected `[1, 4, 16]`", None),
    ("matrix: {axes: {load.concurrency: {pow: [1, 4]}}}", "E112", 4, 35, "got a map", "did you mean `pow2`?"),
    ("matrix: {axes: {load.concurrency: {pow2: [3, 9]}}}", "E113", 4, 42, "a power of two as the first", None),
    ("matrix: {axes: {load.concurrency: {int: [9, 3]}}}", "E113", 4, 41, "at least the lower end 9, got 3", None),
    ("matrix: {axes: {load.concurrency: {int: [1, 99999]}}}", "E131", 4, 35, "at most 10,000 values", None),
    ("matrix: {axes: {load.concurrency: {int: [0, 4]}}}", "E113", 4, 35, "expected at least 1, got 0", None),
    ("matrix: {axes: {x: {float: [0, 1]}}}", "E113", 4, 28, "one of `step` and `points`", "write {float:"),
    ("matrix: {axes: {x: {float: [0, 1], points: 3, log: true}}}", "E113", 4, 52, "positive ends with `log`", None),
    (
        "matrix: {axes: {x: {zip: {load.concurrency: [1, 2], workload.batch: [1]}}}}",
        "E113",
        4,
        26,
        "2 for load.c",
        None,
    ),
    ("matrix: {axes: {x: {zip: {load.concurrency: []}}}}", "E113", 4, 26, "at least one value", None),
    (
        "matrix: {axes: {load.concurrency: [1], z: {zip: {load.concurrency: [2]}}}}",
        *("E131", 4, 50, "the axis `load.concurrency` already sets", "remove one of them"),
    ),
    ("matrix: {skip: [workload.bach > 1]}", "E132", 4, 17, "unknown address", "did you mean `workload.batch`?"),
    ("matrix: {skip: ['workload.batch > 1s']}", "E132", 4, 33, "units do not fit", None),
    ("matrix: {skip: [workload.batch * 2]}", "E132", 4, 17, "expected a comparison, got a number", None),
    ("matrix: {skip: ['workload.batch >']}", "E132", 4, 34, "expected a value, got the end", None),
    ("targets: {a: {}, b: {set: {load.x: 1}}}", "E130", 4, 28, "unknown address `load.x`", None),
    ("targets: {a: {}, b: {set: {load.concurrency: x}}}", "E112", 4, 46, "expected a whole number", None),
    ("targets: {a: {set: {setup.x.url: y}}}", "E130", 4, 21, "there is no setup step `x`", None),
    (
        "setup: {d: {kind: dali, from: run.py, image: i, place: host}}",
        *("E113", 4, 56, "expected `target` beside `image`", "remove one of the two"),
    ),
    ("setup: {d: {kind: dali, from: nun.py}}", "E140", 4, 31, "there is no file `nun.py`", "did you mean `run.py`?"),
    ("server: {flags: {a: {b: 1}}}", "E112", 4, 21, "text or a list, got a map", None),
    ("targets: {a: {requires: {gpu: 1}}}", "E110", 4, 26, "unknown key `gpu`", "did you mean `gpus`?"),
    (
        "repository: {models: {m: {from: model, config: {max_batch_size: 8}}}}\n"
        "matrix: {axes: {workload.batch: [8, 16]}}",
        *("E150", 5, 37, "a batch of 16 is larger than the model `m` takes, which is 8", "raise repository.models.m"),
    ),
    (
        "setup: {e: {kind: tensorrt, from: '${setup.f}', profile: {max: 8}}, f: {kind: fetch, url: x}}\n"
        "repository: {models: {m: {from: model, files: {1/model.plan: '${setup.e}'}, config: {max_batch_size: 9}}}}",
        *(
            "E150",
            5,
            102,
            "a batch of 9 is larger than the engine `setup.e` takes, which is 8",
            "raise setup.e.profile",
        ),
    ),
]


@pytest.mark.parametrize(("text", "code", "line", "column", "message", "hint"), ROWS, ids=[row[0][:60] for row in ROWS])
def test_one_mistake_one_diagnostic(desk, text, code, line, column, message, hint):
    found = desk.mistakes(HEAD + text + "\n")
    assert [each.code for each in found] == [code]
    (only,) = found
    assert (only.line, only.column) == (line, column)
    assert only.file == "scenario.yaml"
    assert message in only.message
    assert (only.hint is None) == (hint is None) or hint is None
    assert hint is None or hint in only.hint


def test_what_a_file_must_have(desk):
    found = desk.mistakes("description: nothing else\n")
    assert [(each.code, each.address, each.line, each.column) for each in found] == [
        ("E111", "scenario", 1, 1),
        ("E111", "name", 1, 1),
        ("E111", "workload", 1, 1),
    ]


FIVE = """\
scenario: 1
name: five
vars:
  max_batch: {type: int, default: 8, max: 4}
server:
  ready: {timeout: 120}
workload: {model: m, bacth: 4}
load: {concurrency: "${vars.maxbatch}"}
matrix:
  axes:
    load.concurency: [1, 2]
"""


def test_five_mistakes_at_once_in_file_order(desk):
    assert [(each.code, each.line, each.column, each.address) for each in desk.mistakes(FIVE)] == [
        ("E113", 4, 35, "vars.max_batch.default"),
        ("E114", 6, 20, "server.ready.timeout"),
        ("E110", 7, 22, "workload.bacth"),
        ("E120", 8, 22, "load.concurrency"),
        ("E130", 11, 5, "load.concurency"),
    ]


def test_five_mistakes_are_told_without_a_heavy_import(desk):
    """Half a second is the promise; what breaks it is a library that does not belong here, not a slow machine."""
    path = desk.write(FIVE)
    program = (
        "import sys\n"
        "from runner.errors import ScenarioError\n"
        "from runner.scenario.diagnostics import render\n"
        "from runner.scenario.loading import load_scenario\n"
        "try:\n    load_scenario(sys.argv[1], env={})\n"
        "except ScenarioError as error:\n    text = render(error.diagnostics)\n"
        "print(text.count('error['), *sorted(set(sys.argv[2].split()) & set(sys.modules)))\n"
    )
    root = Path(__file__).parents[3]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    heavy = "grpc tritonclient docker onnx numpy scipy optuna rich requests"
    command = [sys.executable, "-c", program, str(path), heavy]
    told = subprocess.run(command, cwd=root, env=plain, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["5"]


def test_mistakes_in_other_files_come_after_those_in_the_file(desk):
    desk.write("load: {concurrency: 0}\nreport: {formats: [x]}\n", "base.yaml")
    found = desk.mistakes(HEAD + "extends: [base.yaml]\nmeasure: {drain: 1}\n")
    assert [(each.file, each.line, each.code) for each in found] == [
        ("scenario.yaml", 5, "E114"),
        ("base.yaml", 1, "E113"),
        ("base.yaml", 2, "E113"),
    ]


def test_a_base_that_is_not_yaml_is_one_mistake_among_others(desk):
    desk.write("a: [\n", "base.yaml")
    found = desk.mistakes(HEAD + "extends: [base.yaml]\nmeasure: {drain: 1}\n")
    assert [(each.file, each.code) for each in found] == [("scenario.yaml", "E114"), ("base.yaml", "E100")]


def test_bases_that_extend_each_other(desk):
    desk.write("extends: [b.yaml]\n", "a.yaml")
    desk.write("extends: [a.yaml]\n", "b.yaml")
    (only,) = desk.mistakes(HEAD + "extends: [a.yaml]\n")
    assert (only.code, only.file, only.message) == (
        "E121",
        "b.yaml",
        "files extend each other: a.yaml -> b.yaml -> a.yaml",
    )


def test_a_cycle_of_variables_is_reported_once(desk):
    text = 'vars:\n  a: {type: int, default: "${vars.b}"}\n  b: {type: int, default: "${vars.a}"}\n'
    (only,) = desk.mistakes(HEAD + text + 'load: {concurrency: "${vars.a}"}\n')
    assert (only.code, only.message) == ("E121", "variables refer to each other: a -> b -> a")


@pytest.mark.parametrize(
    ("option", "code", "column", "message"),
    [
        ("load.concurrency=x", "E112", 18, 'expected a whole number, got "x"'),
        ("load.concurrency=[1", "E100", 20, "the text ends too early"),
        ("load.concurency=1", "E130", 1, "unknown address `load.concurency`"),
        ("lod=1", "E130", 1, "unknown address `lod`"),
        ("load..x=1", "E130", 1, "is not an address"),
        ("vars.nope=1", "E130", 1, "there is no variable `nope`"),
        ("measure.percentiles.7=5", "E130", 1, "outside a list of 0"),
        ("load.concurrency.deep=1", "E112", 23, "expected a whole number, got a map"),
        ("matrix.axes.load.x=[1]", "E130", 1, "unknown address"),
    ],
)
def test_mistakes_in_options_point_into_the_option(desk, option, code, column, message):
    (only,) = desk.mistakes(HEAD, set_=[option])
    assert (only.code, only.file, only.line, only.column) == (code, "--set", None, column)
    assert only.source_line == option
    assert message in only.message


def test_mistakes_in_the_environment_name_the_variable(desk):
    (only,) = desk.mistakes(HEAD, env={"SCENARIO__LOAD__CONCURRENCY": "x"})
    assert (only.code, only.file, only.address) == ("E112", "SCENARIO__LOAD__CONCURRENCY", "load.concurrency")
    (only,) = desk.mistakes(HEAD, env={"SCENARIO__LOAD__CONCURENCY": "1"})
    assert (only.code, only.file, only.address) == ("E130", "SCENARIO__LOAD__CONCURENCY", "load.concurency")
    (only,) = desk.mistakes(HEAD, env={"SCENARIO__LOAD____X": "1"})
    assert (only.code, only.message) == ("E130", "`SCENARIO__LOAD____X` names no address")


def test_a_flag_out_of_range_points_at_the_flag(desk):
    text = HEAD + "vars: {n: {type: int, default: 1, max: 8, flag: --n}}\n"
    (only,) = desk.mistakes(text, flags={"--n": "9"})
    assert (only.code, only.file, only.message) == ("E113", "--n", "expected at most 8, got 9")
    (only,) = desk.mistakes(text, flags={"--n": "[1"})
    assert (only.code, only.message) == ("E112", 'expected a whole number, got "[1"')
