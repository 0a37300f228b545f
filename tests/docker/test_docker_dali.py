"""Step `dali` in a container of the serving image, and a step that stays on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.scenario.schema import DaliStep, DockerLaunch, ScriptStep, Step
from runner.setup.containers import Containers, InContainer
from runner.setup.dali import SerializeDali
from runner.setup.digest import DigestCache
from runner.setup.ledger import Ledger
from runner.setup.places import Place, ThisMachine
from tests.contracts.step import run

pytestmark = pytest.mark.docker
PIPELINE = Path(__file__).parents[2] / "model_repos" / "efficientnet" / "preprocess_dali" / "1" / "dali.py"


def place(step: Step, image: str, folder: Path) -> Place:
    containers = Containers(Ledger(folder / "ledger.jsonl"))
    containers.may_pull = True
    return containers.place_for(step, DockerLaunch(kind="docker", image=image))


def test_the_serving_images_dali_writes_the_same_pipeline(image: str, client: Any, tmp_path: Path) -> None:
    args: Mapping[str, Any] = {"decoder": "mixed", "hw_decoder_load": 0.8, "image_size": 224}
    config = DaliStep.model_validate({"kind": "dali", "from": str(PIPELINE), "args": args})
    inside = SerializeDali("pipeline", config, DigestCache(tmp_path / "cache"), place(config, image, tmp_path))
    parts = inside.fingerprint({})
    assert parts["image"] == client.images.get(image).id
    assert not any(name.startswith("version of nvidia") for name in parts), "the image decides, not this machine"
    product, _ = run(inside, {}, tmp_path / "inside")
    here, _ = run(SerializeDali("pipeline", config, DigestCache(tmp_path / "cache")), {}, tmp_path / "here")
    assert product.path.read_bytes() == here.path.read_bytes(), "the test image has this environment's DALI"
    assert product.labels == here.labels
    assert "docker run --rm --init " in (tmp_path / "inside" / "reproduce.sh").read_text()


def test_a_step_may_stay_on_this_machine(image: str, tmp_path: Path) -> None:
    here = ScriptStep(kind="script", script=str(PIPELINE), place="host")
    assert isinstance(place(here, image, tmp_path), ThisMachine)
    assert isinstance(place(here.model_copy(update={"place": "target"}), image, tmp_path), InContainer)
