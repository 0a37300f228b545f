"""Every command line that the manuals of perf_analyzer, perf_client and the SLA client print, as a scenario file."""

from __future__ import annotations

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
    "image_client -m resnet50_netdef -s INCEPTION": "begins with perf_analyzer, perf_client, benchmark.py",
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


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_translated_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["import", line]) == 2
    assert REFUSED[line] in capsys.readouterr().err


def test_lines_that_a_manual_broke_are_joined(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["import", "perf_analyzer -m a \\\n  -b 4"]) == 0
    assert "batch: 4" in capsys.readouterr().out


def test_every_golden_file_belongs_to_an_example() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(EXAMPLES)
