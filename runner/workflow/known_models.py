"""What is wrong with models and workload, as far as the file and the `config.pbtxt` beside it tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from runner.errors import ScenarioError
from runner.scenario.addresses import AddressError, locate
from runner.scenario.diagnostics import Diagnostic, diagnose, in_file_order
from runner.scenario.schema import RemoteLaunch, ZipAxis
from runner.workflow.groups import largest_batch_of
from runner.workflow.order import server_groups

if TYPE_CHECKING:
    from runner.scenario.case import Case
    from runner.scenario.loading import LoadedScenario
    from runner.scenario.tree import Node


def check_known_models(loaded: LoadedScenario, cases: Sequence[Case]) -> None:
    """Refuse what setup or the server would refuse, before either is started.

    A server that runs already has models of its own, so the file's say nothing of it.

    Raises:
        ScenarioError: with every mistake, each at the value that is to blame.
    """
    if isinstance(loaded.launch, RemoteLaunch) or not loaded.scenario.repository.models:
        return
    from runner.setup.configured import known_problems

    lines = [line for g in server_groups(cases) for line in known_problems(g[0].scenario, largest_batch_of(g))]
    if lines:
        found = [_diagnosed(loaded, *line.split(": ", 1)) for line in dict.fromkeys(lines)]
        raise ScenarioError(in_file_order(found, first=found[0].file))


def _diagnosed(loaded: LoadedScenario, address: str, message: str) -> Diagnostic:
    node, found = _blamed(loaded, address)
    named = "has no such" in message and found  # a key, and not what stands there
    place = node.key if named and node.key is not None else node.place
    return diagnose(_code(address, "has no " in message), place, message, address=address)


def _code(address: str, unknown: bool) -> str:
    if address.startswith("repository."):
        return "E151"
    if address == "workload.batch":
        return "E150"
    return "E120" if unknown else "E113"


def _blamed(loaded: LoadedScenario, address: str) -> tuple[Node, bool]:
    """The value at an address, the axis that gives it, or what is nearest around it; and whether it is there itself."""
    for at in _swept(loaded, address):
        return at, True
    around = address
    while around:
        try:
            found = loaded.find(locate(loaded.node(()), around))
        except AddressError:
            found = None
        if found is not None:
            return found, around == address
        around = around.rpartition(".")[0]
    return loaded.node(()), False


def _swept(loaded: LoadedScenario, address: str) -> Iterator[Node]:
    for label, axis in loaded.scenario.matrix.axes.items():
        path = ("matrix", "axes", label)
        columns = {each: (*path, "zip", each) for each in axis.zip} if isinstance(axis, ZipAxis) else {label: path}
        if address in columns:
            yield loaded.node(columns[address])
