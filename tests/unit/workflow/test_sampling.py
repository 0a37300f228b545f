"""The conductor samples beside every measurement: a file for each, one session with the driver for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner.measure.telemetry.collect import TelemetryRoom
from runner.results.nvml import Nvml
from runner.results.nvml_fake import FakeGpu, FakeNvmlLibrary
from runner.scenario.loading import load_scenario
from runner.workflow import RunOptions, run_scenario
from tests.unit.test_workflow import FILE, rooms

SETTINGS = ("measure.repeats=2", "matrix.axes={load.concurrency: [1, 4]}")


def test_every_measurement_has_its_samples_and_the_driver_is_given_back(tmp_path: Path) -> None:
    (tmp_path / "fake.yaml").write_text(FILE)
    library = FakeNvmlLibrary([FakeGpu()])
    opened: list[Nvml] = []

    def load() -> Nvml:
        opened.append(Nvml(lambda _name: library))
        return opened[-1]

    sampled = replace(rooms(), telemetry=TelemetryRoom(load))
    options = RunOptions(output_dir=tmp_path / "runs", home=tmp_path / "home")
    outcome = run_scenario(load_scenario(tmp_path / "fake.yaml", set_=SETTINGS, env={}), options, rooms=sampled)
    assert (len(opened), library.sessions) == (1, 0)
    files = sorted((outcome.directory / "telemetry").iterdir())
    ids = [point.case.case_id for point in outcome.run.points()]
    assert [path.stem for path in files] == sorted(f"{id_}-repeat{n}" for id_ in ids for n in (0, 1))
    for path in files:
        text = path.read_text()
        assert "host.cpu_total_s" in text
        assert "gpu0.power_w" in text
    for trials in outcome.run.repeats.values():
        for trial in trials:
            assert "gpu0.power_w" in {**trial.telemetry, **trial.telemetry_absent}
            assert trial.telemetry_absent["prometheus"].startswith("the server has no metrics endpoint")
            assert "telemetry/" in str([artefact.path for artefact in outcome.run.manifest.artefacts])
