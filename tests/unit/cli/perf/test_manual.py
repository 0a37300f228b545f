"""Every command line that the manuals of perf_analyzer, perf_client and the SLA client print, as a scenario file."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from runner.cli.main import invoke
from runner.scenario.loading import load_scenario

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = {
    "percentile": "perf_analyzer -m inception_graphdef --percentile=95",
    "concurrency": "$ perf_analyzer -m inception_graphdef --concurrency-range 1:4",
    "csv": "$ perf_analyzer -m inception_graphdef --concurrency-range 1:4 -f perf.csv",
    "metrics": "perf_analyzer -m resnet50_libtorch --collect-metrics -f output.csv --verbose-csv",
    "shape": "perf_analyzer -m mymodel -b 4 --shape IMAGE:3,224,224",
    "perf_client": "build/perf_client -m resnet50_netdef -p3000 -t4 -v",
    "perf_client_limit": "perf_client -m resnet50_netdef -p3000 -d -l15",
    "perf_client_csv": "perf_client -m resnet50_netdef -p3000 -d -l15 -f perf.csv",
    "sla_client": "python benchmark.py -m resnet50_netdef -a --sla 0.5 --qps 20 --attempts 3 -u gpu -p 9001 -v",
    "sla_client_infinite": "benchmark.py --infinite --qps 20 --streaming -t 64",
    "sla_client_images": "python3 benchmark.py -s INCEPTION -f photos -c 3 --qps-delta 2",
}
REFUSED = {
    "perf_analyzer -m graphdef_int32_int32_int32 --service-kind=triton_c_api "
    "--triton-server-directory=/opt/tritonserver --model-repository=/models": "only Triton can be loaded so far",
    "perf_analyzer -m resnet50 --service-kind tfserving -i grpc -b 1 -p 5000 -u localhost:8500": "only Triton",
    "perf_analyzer -m resnet50 --service-kind torchserve -i http -u localhost:8080 -b 1 -p 5000": "only Triton",
    "image_client -m resnet50_netdef -s INCEPTION -c 3 mug.jpg": "image_client prints the classes of images",
    "src/clients/python/grpc_image_client.py -m resnet50_netdef mug.jpg": "docs/coming-from.md",
    "python3 grpc_latency.py --images_numpy_path imgs.npy --batchsize 1": "the protocol of TensorFlow Serving",
    "./grpc_throughput.sh 28 --grpc_port 9178 --images_numpy_path imgs.npy": "only Triton can be loaded",
    "bash benchmark.sh do_setup 32": "scenario run efficientnet --target gpu --profile reference --max-batch 64",
    "bash reset_benchmark.sh": "scenario reset efficientnet",
    "ab -n 100": "begins with perf_analyzer, perf_client, benchmark.py",
    "": "begins with perf_analyzer",
    "perf_analyzer -m 'a": "is a quotation mark missing?",
    "perf_analyzer --help": "name a model with -m",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_become_scenarios(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert invoke(["import", EXAMPLES[name]]) == 0
    text = capsys.readouterr().out
    assert text == (GOLDEN / f"{name}.yaml").read_text()
    (tmp_path / "scenario.yaml").write_text(text)
    load_scenario(tmp_path / "scenario.yaml", env={})


@pytest.mark.parametrize("name", EXAMPLES)
def test_quotation_marks_may_be_left_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert invoke(["import", *shlex.split(EXAMPLES[name])]) == 0
    assert capsys.readouterr().out == (GOLDEN / f"{name}.yaml").read_text()


def test_words_that_the_shell_has_split_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["import", "perf_analyzer", "-m", "a", "--string-data", "two words"]) == 0
    assert "text: two words" in capsys.readouterr().out


def test_own_options_come_before_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    assert invoke(["import", "-o", str(file), "perf_analyzer", "-m", "a"]) == 0
    assert "model: a" in file.read_text()
    assert invoke(["import", "perf_analyzer", "-m", "a", "-o", str(file)]) == 2
    assert "there is no option -o in perf_analyzer" in capsys.readouterr().err


def test_a_command_line_is_quoted_as_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["import", "perf_analyzer -m a", "-b", "4"]) == 2
    said = capsys.readouterr().err
    assert "nothing behind the quoted command line, got -b 4" in said
    assert "quote all of it or nothing" in said


def test_no_command_line_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["import"]) == 2
    assert "Missing argument 'perf_analyzer -m MODEL …'" in capsys.readouterr().err


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_translated_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["import", line]) == 2
    assert REFUSED[line] in capsys.readouterr().err


def test_lines_that_a_manual_broke_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["import", "perf_analyzer -m a \\\n  -b 4"]) == 0
    assert "batch: 4" in capsys.readouterr().out


def test_every_golden_file_belongs_to_an_example() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(EXAMPLES)
