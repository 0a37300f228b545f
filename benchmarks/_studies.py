"""Studies of objectives that are known by heart: problems with their truth, noise, search and confirmation.

Nothing is measured: a "measurement" is the truth times log-normal noise. The search is the product's own, from the
scenario file to the strategies, and so is the confirmation.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from runner.scenario.loading import load_scenario
from runner.scenario.schema_tune import Strategy as Written
from runner.tune.base import Observation, Point
from runner.tune.front import best_first, hypervolume
from runner.tune.objectives import Goals
from runner.tune.space import Space
from runner.tune.strategies import make_strategy
from runner.tune.winner import Block, Entry, Outcome, name_winner

HEAD = "scenario: 1\nname: synthetic\nworkload: {model: m}\nserver: {flags: {threads: 1, instances: 1, delay: 0}}\n"
SAMPLE = 20_000
"""Random points that stand for a whole space where its best is not known by formula."""

Values = tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """An objective, or two, whose true values are known."""

    name: str
    tune: str
    """The block of the scenario."""
    truth: Callable[[Point], Values]

    @cached_property
    def space(self) -> Space:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "synthetic.yaml"
            path.write_text(HEAD + self.tune)
            return Space.of(load_scenario(path, env={}))

    @cached_property
    def goals(self) -> Goals:
        tune = self.space.loaded.scenario.tune
        assert tune is not None
        return Goals.of(tune)

    @cached_property
    def sample(self) -> tuple[Observation, ...]:
        """Points all over the space, with their true values."""
        random = np.random.default_rng(0)
        points = (self.space.at(random.random(len(self.space.dimensions)).tolist()) for _ in range(SAMPLE))
        return tuple(Observation(0, point, "measured", self.truth(point)) for point in points)

    @cached_property
    def best(self) -> float:
        """Of one objective the best true value; of two the hypervolume of the true front."""
        if len(self.goals.objectives) > 1:
            return hypervolume(self.sample, self.goals.objectives, self.sample)
        return max(each.values[0] for each in self.sample if each.values)

    def score(self, observations: Sequence[Observation]) -> float:
        """The truth about what a search would name after these noisy observations."""
        objectives = self.goals.objectives
        if len(objectives) > 1:
            true = [Observation(each.number, each.point, "measured", self.truth(each.point)) for each in observations]
            return hypervolume(true, objectives, self.sample)
        return self.truth(best_first(observations, objectives, 1)[0].point)[0]

    def regret(self, observations: Sequence[Observation]) -> float:
        """How far the truth of the point that looks best is below the best there is, as a share of it."""
        return max(1 - self.score(observations) / self.best, 0.0)


def measured(truth: Values, random: np.random.Generator, noise: float) -> Values:
    """The truth times log-normal noise."""
    return tuple(value * math.exp(noise * random.standard_normal()) for value in truth)


def search(problem: Problem, kind: str, seed: int, trials: int, noise: float) -> list[Observation]:
    """A search of so many points."""
    random = np.random.default_rng((seed, 1))
    strategy = make_strategy(problem.space, problem.goals, Written.model_validate({"kind": kind, "seed": seed}))
    told: list[Observation] = []
    while len(told) < trials and (asked := strategy.ask()):
        values = measured(problem.truth(asked[0].point), random, noise)
        told.append(Observation(asked[0].number, asked[0].point, "measured", values))
        strategy.tell(told[-1])
    return told


def confirm(
    problem: Problem, contenders: Sequence[Observation], seed: int, *, noise: float, drift: float, blocks: int = 6
) -> Outcome:
    """A confirmation: each block has every contender once, on a rig that drifts from block to block."""
    random = np.random.default_rng((seed, 2))
    found: list[Block] = []
    for _ in range(blocks):
        level = math.exp(drift * random.standard_normal())
        found.append(
            {
                str(each.number): Entry(
                    tuple(level * value for value in measured(problem.truth(each.point), random, noise)), {}
                )
                for each in contenders
            }
        )
    return name_winner(found, "0", problem.goals.objectives, margin=0.02)


@dataclass(frozen=True)
class Claim:
    """What a study claimed, and what is true."""

    named: bool
    """A winner was named."""
    claimed: float
    """Relative gain of the winner over the file's own values, by the confirmation; of the best contender if none."""
    low: float
    """The lower end of its interval: what is really claimed."""
    by_search: float
    """The gain that the search's own values of the point that looked best would have claimed."""
    true: float
    """The true gain of the contender."""
    true_by_search: float

    @property
    def beyond(self) -> bool:
        """The truth is worse than the interval admits."""
        return self.low > self.true


def study(problem: Problem, kind: str, seed: int, *, trials: int, noise: float, drift: float = 0.05) -> Claim:
    """A whole study of one objective: search, contenders, confirmation, claim."""
    told = search(problem, kind, seed, trials, noise)
    ranked = [each for each in best_first(told, problem.goals.objectives, 4) if each.number != 0][:3]
    outcome = confirm(problem, [told[0], *ranked], seed, noise=noise, drift=drift)
    best = outcome.standings[0]
    points = {str(each.number): each for each in told}
    own = problem.truth(told[0].point)[0]
    top = ranked[0]
    assert best.gain.low is not None
    assert top.values is not None
    assert told[0].values is not None
    return Claim(
        named=outcome.winner is not None,
        claimed=best.gain.value,
        low=best.gain.low,
        by_search=top.values[0] / told[0].values[0] - 1,
        true=problem.truth(points[best.contender].point)[0] / own - 1,
        true_by_search=problem.truth(top.point)[0] / own - 1,
    )


# --- problems -----------------------------------------------------------------------------------------------------

_FIVE = """tune:
  space:
    server.flags.threads: {pow2: [1, 64]}
    server.flags.instances: {int: [1, 8]}
    workload.batch: {pow2: [1, 128]}
    server.flags.delay: {int: [0, 2000], step: 50}
    server.flags.share: {float: [0, 1]}
"""


def _scaled(point: Point) -> tuple[float, ...]:
    """The five dimensions from 0 to 1; the file leaves `share` out, which is 0."""
    return (
        math.log2(point["server.flags.threads"]) / 6,
        (point["server.flags.instances"] - 1) / 7,
        math.log2(point["workload.batch"]) / 7,
        point["server.flags.delay"] / 2000,
        point.get("server.flags.share", 0.0),
    )


def _smooth(point: Point) -> Values:
    """One hill; threads and instances share the cores, so that the best of one depends on the other."""
    threads, instances, batch, delay, share = _scaled(point)
    distance = (
        2.0 * (threads + 0.6 * instances - 0.9) ** 2
        + 1.0 * (instances - 0.55) ** 2
        + 1.5 * (batch - 0.7 - 0.3 * (delay - 0.3)) ** 2
        + 0.5 * (delay - 0.3) ** 2
        + 0.8 * (share - 0.62) ** 2
    )
    return (1000 * math.exp(-distance),)


def _rugged(point: Point) -> Values:
    """The same hill with ridges: batches that do not fill the instances, delays that beat against the load."""
    threads, instances, batch, delay, share = _scaled(point)
    ridges = 0.12 * (2 + math.cos(9 * math.pi * share) + math.cos(6 * math.pi * delay + 4 * batch) - 0.5 * instances)
    far = 0.35 * math.exp(-12 * ((threads - 0.1) ** 2 + (batch - 0.15) ** 2 + (share - 0.1) ** 2))
    return (_smooth(point)[0] * math.exp(-ridges) * (1 + 4 * far),)


_BACKENDS = """tune:
  space:
    server.flags.backend: {choice: [onnx, openvino, tensorrt]}
    server.flags.precision: [fp32, bf16, fp16, int8]
    server.flags.workspace: {choice: [1, 2, 4, 8], when: "server.flags.backend == 'tensorrt'"}
    server.flags.graphs: {choice: [on, off], when: "server.flags.backend == 'tensorrt'"}
    server.flags.streams: {int: [1, 16], when: "server.flags.backend == 'openvino'"}
    server.flags.instances: {int: [1, 8]}
    workload.batch: {pow2: [1, 128]}
"""
_BASE = {"onnx": 300.0, "openvino": 420.0, "tensorrt": 480.0}
_PRECISION = {"fp32": 0.0, "bf16": 0.1, "fp16": 0.25, "int8": 0.18}


def _backends(point: Point) -> Values:
    """The best backend is best only with its own switches set; what suits one is wrong for another."""
    backend = point.get("server.flags.backend", "onnx")
    gain = _PRECISION[point.get("server.flags.precision", "fp32")] * (1.5 if backend == "tensorrt" else 0.3)
    if backend == "tensorrt":
        gain += 0.12 * (point.get("server.flags.graphs", "off") == "on") + 0.03 * point.get("server.flags.workspace", 1)
    if backend == "openvino":
        gain -= 0.004 * (point.get("server.flags.streams", 1) - 6) ** 2
    best = {"onnx": 0.8, "openvino": 0.4, "tensorrt": 0.3}[backend]
    batch, instances = math.log2(point["workload.batch"]) / 7, (point["server.flags.instances"] - 1) / 7
    return (_BASE[backend] * math.exp(gain - 1.2 * (instances - best) ** 2 - 1.5 * (batch - 0.75) ** 2),)


def _two(point: Point) -> Values:
    """Throughput against latency: a queue that fills; more in flight is faster until the instances are busy."""
    threads, instances, batch, delay, share = _scaled(point)
    capacity = 1000 * math.exp(-1.5 * (threads + 0.6 * instances - 0.9) ** 2 - 0.8 * (share - 0.62) ** 2)
    load = 2 ** (7 * batch) * (1 + 4 * instances)
    busy = load / (load + 60)
    latency = 1000 * load / (capacity * busy + 1) + 20 * delay
    return (capacity * busy * (1 - 0.1 * (1 - delay)), latency)


@cache
def problems() -> tuple[Problem, ...]:
    """What the strategies are tried on."""
    return (
        Problem("one hill, interaction", _FIVE, _smooth),
        Problem("many hills", _FIVE, _rugged),
        Problem("choices with conditions", _BACKENDS, _backends),
        Problem("two objectives", _FIVE + "  objectives: {throughput: max, latency.p99: min}\n", _two),
    )


def flat() -> Problem:
    """Nothing that can be changed makes a difference."""
    return Problem("flat", _FIVE, lambda point: (1000.0,))
