"""Checks that the tensors of an ensemble fit together, before a server says so minutes later and less clearly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.setup.model_config import Problems, datatype, near


@dataclass(frozen=True)
class Tensor:
    """A tensor with its full shape, batch dimension included, and where it comes from."""

    datatype: str
    shape: tuple[int, ...]
    origin: str

    def fits(self, other: Tensor) -> bool:
        """Same type, and every dimension equal or open on one side."""
        pairs = zip(self.shape, other.shape, strict=False)
        same_rank = len(self.shape) == len(other.shape)
        return self.datatype == other.datatype and same_rank and all(a == b or -1 in (a, b) for a, b in pairs)

    def __str__(self) -> str:
        return f"{self.datatype} {list(self.shape)} ({self.origin})"


def check_ensembles(configs: Mapping[str, Any], problems: Problems) -> None:
    """Check every ensemble among the model configurations."""
    for name, config in configs.items():
        if config.platform == "ensemble" or config.HasField("ensemble_scheduling"):
            _Check(name, config, configs, problems).run()


def tensors(name: str, config: Any, which: str) -> dict[str, Tensor]:
    """The inputs or outputs of a model."""
    batch = (-1,) if config.max_batch_size > 0 else ()
    return {
        one.name: Tensor(datatype(one.data_type), (*batch, *one.dims), f"{which} {one.name} of {name}")
        for one in getattr(config, which)
    }


class _Check:
    """One ensemble."""

    def __init__(self, name: str, config: Any, configs: Mapping[str, Any], problems: Problems) -> None:
        self.name, self.config, self.configs, self.problems = name, config, configs, problems
        self.address = f"repository.models.{name}.ensemble_scheduling"
        self.known = tensors(name, config, "input")

    def run(self) -> None:
        steps = list(self.config.ensemble_scheduling.step)
        if not steps:
            self.problems.add(self.address, "an ensemble needs at least one step")
        present = [(index, step) for index, step in enumerate(steps) if self._model_exists(index, step)]
        for index, step in present:
            self._outputs(f"{self.address}.step.{index}", step)
        for index, step in present:
            self._inputs(f"{self.address}.step.{index}", step)
            self._batch(f"repository.models.{self.name}.config.max_batch_size", step)
        if len(present) == len(steps):
            self._results()

    def _model_exists(self, index: int, step: Any) -> bool:
        if step.model_name in self.configs:
            return True
        hint = near(step.model_name, self.configs)
        self.problems.add(
            f"{self.address}.step.{index}.model_name", f"the repository has no model `{step.model_name}`{hint}"
        )
        return False

    def _outputs(self, address: str, step: Any) -> None:
        """What a step makes becomes known under the ensemble's names."""
        made = tensors(step.model_name, self.configs[step.model_name], "output")
        for output, tensor in step.output_map.items():
            if output not in made and made:
                self.problems.add(
                    f"{address}.output_map", f"{step.model_name} has no output `{output}`{near(output, made)}"
                )
            elif tensor in self.known:
                origin = self.known[tensor].origin
                self.problems.add(f"{address}.output_map", f"`{tensor}` is made twice: here and as {origin}")
            elif output in made:
                self.known[tensor] = made[output]

    def _inputs(self, address: str, step: Any) -> None:
        config = self.configs[step.model_name]
        wanted = tensors(step.model_name, config, "input")
        for name, tensor in step.input_map.items():
            if name not in wanted and wanted:
                self.problems.add(
                    f"{address}.input_map", f"{step.model_name} has no input `{name}`{near(name, wanted)}"
                )
            elif tensor not in self.known:
                message = f"nothing makes `{tensor}`, which {step.model_name} reads{near(tensor, self.known)}"
                self.problems.add(f"{address}.input_map.{name}", message)
            elif name in wanted:
                self._chain(f"{address}.input_map.{name}", self.known[tensor], wanted[name])
        optional = {one.name for one in config.input if one.optional}
        for name in wanted.keys() - step.input_map.keys() - optional:
            self.problems.add(f"{address}.input_map", f"input `{name}` of {step.model_name} is not fed")

    def _batch(self, address: str, step: Any) -> None:
        mine, theirs = self.config.max_batch_size, self.configs[step.model_name].max_batch_size
        if mine > theirs:
            message = f"{mine} is more than the {theirs} of {step.model_name}, which is one of its steps"
            self.problems.add(address, f"{message}; raise repository.models.{step.model_name}.config.max_batch_size")

    def _results(self) -> None:
        for name, wanted in tensors(self.name, self.config, "output").items():
            if name in self.known:
                self._chain(f"{self.address}", self.known[name], wanted)
            else:
                self.problems.add(self.address, f"no step makes the output `{name}`{near(name, self.known)}")

    def _chain(self, address: str, source: Tensor, target: Tensor) -> None:
        if not source.fits(target):
            self.problems.add(address, f"expected {target}, got {source}")
