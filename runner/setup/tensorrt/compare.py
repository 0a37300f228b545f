"""How far an engine's outputs are from the model's, and whether that is near enough."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runner.errors import SetupError
from runner.scenario.schema_tensorrt import Verify

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """Of all outputs the worst."""

    samples: int
    top1_agreement: float | None
    """Share of samples whose highest score is of the same class; None where no output has classes."""
    max_abs_error: float
    max_abs_value: float
    """Largest value of the model itself, to judge the error by."""
    min_cosine: float
    outside: float
    """Share of values farther off than `atol` and `rtol` allow; 0 where neither is asked for."""

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        agreement = "" if self.top1_agreement is None else f"top-1 agreement {self.top1_agreement:.4g}, "
        return (
            f"{self.samples} samples: {agreement}largest error {self.max_abs_error:.3g} (values up to "
            f"{self.max_abs_value:.3g}), least cosine {self.min_cosine:.6f}"
        )


def compare(reference: Mapping[str, Array], outputs: Mapping[str, Array], asked: Verify) -> Comparison:
    """Compare row by row; every output of the model must be there.

    Raises:
        SetupError: an output is missing, or has another shape.
    """
    pairs = [(_rows(values), _matching(name, values, outputs)) for name, values in reference.items()]
    agreements = [float((a.argmax(1) == b.argmax(1)).mean()) for a, b in pairs if a.shape[1] > 1]
    return Comparison(
        samples=len(pairs[0][0]),
        top1_agreement=min(agreements) if agreements else None,
        max_abs_error=max(_worst(np.abs(a - b)) for a, b in pairs),
        max_abs_value=max(_worst(np.abs(a)) for a, _ in pairs),
        min_cosine=min(float(_cosines(a, b).min()) for a, b in pairs),
        outside=max(_outside(a, b, asked) for a, b in pairs),
    )


def failings(found: Comparison, asked: Verify) -> list[str]:
    """What is not as asked, each with both numbers; empty when the engine is good."""
    problems = []
    if not np.isfinite(found.max_abs_error):
        problems.append("the engine's outputs hold infinities or NaN")
    if asked.top1_agreement is not None and found.top1_agreement is not None:
        if found.top1_agreement < asked.top1_agreement:
            problems.append(f"top-1 agreement is {found.top1_agreement:.4g}, asked for {asked.top1_agreement:g}")
    elif asked.top1_agreement is not None and asked.atol is None and asked.rtol is None:
        problems.append("no output has classes, so top-1 agreement says nothing: ask for atol or rtol")
    if found.outside:
        limits = " + ".join(
            text
            for text in (
                f"atol {asked.atol:g}" if asked.atol is not None else "",
                f"rtol {asked.rtol:g}" if asked.rtol is not None else "",
            )
            if text
        )
        problems.append(
            f"{found.outside:.2%} of the values are farther off than {limits}; the largest error is "
            f"{found.max_abs_error:.3g}"
        )
    return problems


def read_reference(folder: Path) -> dict[str, Array]:
    with np.load(folder / "reference.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def read_outputs(folder: Path, rows: int) -> dict[str, Array]:
    """Outputs of all requests, one below the other, without the rows that only filled the last request."""
    answers = json.loads((folder / "outputs.json").read_text())
    found: dict[str, list[Array]] = {}
    for answer in answers:
        for name, tensor in answer.items():
            values = np.fromfile(folder / tensor["file"], dtype=tensor["dtype"]).reshape(tensor["shape"])
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(values)[:rows] for name, values in found.items()}


def _matching(name: str, values: Array, outputs: Mapping[str, Array]) -> Array:
    if name not in outputs:
        raise SetupError(f"the engine has no output {name} (it has {', '.join(outputs) or 'none'})")
    if outputs[name].size != values.size:
        raise SetupError(f"the engine's output {name} is {list(outputs[name].shape)}, the model's {list(values.shape)}")
    return _rows(outputs[name])


def _rows(values: Array) -> Array:
    return values.reshape(len(values), -1).astype(np.float64)


def _worst(values: Array) -> float:
    return float(values.max(initial=0.0)) if np.isfinite(values).all() else float("inf")


def _cosines(a: Array, b: Array) -> Array:
    """Of each row; two rows of zeros point the same way."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(lengths > 0, (a * b).sum(1) / np.where(lengths > 0, lengths, 1), (a == b).all(1))


def _outside(a: Array, b: Array, asked: Verify) -> float:
    if asked.atol is None and asked.rtol is None:
        return 0.0
    near = np.abs(a - b) <= (asked.atol or 0.0) + (asked.rtol or 0.0) * np.abs(a)
    return float(1 - near.mean())
