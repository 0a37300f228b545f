"""The layers of settings from which a scenario is made, lowest first.

defaults < extends < file < target.set < --values < SCENARIO__A__B < env of vars < flags of vars < --set
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from runner.builtin import builtin_scenarios, find_builtin, nearest
from runner.errors import UsageError
from runner.scenario.addresses import AddressError, locate, locate_variable
from runner.scenario.diagnostics import Diagnostic, diagnose
from runner.scenario.merging import assign, merge
from runner.scenario.reading import OVERRIDES, ReadError, read_file, read_text
from runner.scenario.tree import Node, Path_, Place, Source, dotted, option_place

VARIABLE_PREFIX = "SCENARIO__"


@dataclass(frozen=True)
class Layer:
    """Settings of one origin: a tree that is laid over what stands at `path`."""

    name: str
    node: Node
    path: Path_ = ()


@dataclass(frozen=True)
class Assignment:
    """One address and its value, not yet laid: what the address means depends on the layers below."""

    layer: str
    address: str
    value: Node
    place: Place
    """Where the address stands."""


class Stack:
    """Layers laid over one another so far."""

    def __init__(self, layers: Iterable[Layer], root: Node, diagnostics: list[Diagnostic]) -> None:
        self.layers = list(layers)
        self.root = root
        self.diagnostics = diagnostics

    def copy(self) -> Stack:
        return Stack(self.layers, self.root, list(self.diagnostics))

    def lay(self, layer: Layer) -> None:
        """Add a layer on top."""
        laid = assign(self.root, layer.path, layer.node)
        assert laid is not None
        self.layers.append(layer)
        self.root = laid

    def set(self, assignment: Assignment) -> None:
        """Add one assignment on top, or say why its address leads nowhere."""
        try:
            path = self._path(assignment)
        except AddressError as error:
            place, address = assignment.place, assignment.address
            self.diagnostics.append(diagnose("E130", place, error.message, address=address, hint=error.hint))
            return
        self.lay(Layer(assignment.layer, assigned(assignment, self._value(assignment, path)), path))

    def _path(self, assignment: Assignment) -> Path_:
        if assignment.address.startswith(VARIABLE_PREFIX):
            return locate_variable(self.root, assignment.address)
        return locate(self.root, assignment.address)

    def _value(self, assignment: Assignment, path: Path_) -> Node:
        """Options are text: a text variable takes the text as it stands (the tag `26.10` is no number)."""
        value = assignment.value
        if value.place.source.is_file or len(path) != 3 or (path[0], path[2]) != ("vars", "default"):
            return value
        kind = self.root.find((*path[:2], "type"))
        if kind is not None and kind.value in ("string", "enum") and not isinstance(value.value, str):
            return replace(value, value=value.place.text[value.place.column - 1 :])
        return value


def assigned(assignment: Assignment, value: Node | None = None) -> Node:
    """The value of an assignment as a node that knows its address."""
    return replace(value or assignment.value, key=assignment.place, assigned=assignment.address)


def find_scenario(ref: str | Path | None, cwd: Path) -> Path:
    """The file that a reference means: a path, else a built-in; without one `./scenario.yaml`, else `efficientnet`.

    Raises:
        UsageError: no such file or built-in; names the nearest.
    """
    if ref is None:
        return cwd / "scenario.yaml" if (cwd / "scenario.yaml").is_file() else find_scenario("efficientnet", cwd)
    path = cwd / Path(ref).expanduser()
    if path.is_file():
        return path
    builtin = find_builtin(str(ref)) if path.name == str(ref) else None
    if builtin is not None:
        return builtin
    raise UsageError(f"there is no scenario {str(ref)!r}: neither a file nor a built-in", hint=_scenario_hint(path))


def _scenario_hint(path: Path) -> str:
    beside = [each.name for each in path.parent.glob("*.y*ml") if each.is_file()] if path.parent.is_dir() else []
    close = nearest(path.name, [*beside, *(f"{name}.yaml" for name in builtin_scenarios())])
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"built-in scenarios: {', '.join(builtin_scenarios()) or 'none'}"


def shown_path(path: Path, cwd: Path) -> str:
    """A path as short as it can be shown."""
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def read_base(path: Path, cwd: Path) -> Stack:
    """The file and everything that it extends.

    Raises:
        ReadError: the file itself cannot be understood.
    """
    diagnostics: list[Diagnostic] = []
    main = read_file(path, shown_path(path.absolute(), cwd), diagnostics)
    layers: list[Layer] = []
    _read_extends(main, (path.resolve(),), cwd, layers, diagnostics)
    root = Node({}, main.place)
    for layer in layers:
        root = merge(root, layer.node) or root
    root = replace(merge(root, main) or root, place=main.place)
    return Stack([*layers, Layer("file", main)], root, diagnostics)


def _read_extends(
    node: Node, chain: tuple[Path, ...], cwd: Path, layers: list[Layer], diagnostics: list[Diagnostic]
) -> None:
    """Append the bases of a file, each after its own bases; `chain` is the way from the main file."""
    bases = node.child("extends")
    for index, entry in bases.children() if bases is not None and isinstance(bases.value, list) else ():
        if not isinstance(entry.value, str):
            continue  # the schema will say so
        address = f"extends.{index}"
        base = _base_path(entry.value, entry.place.source.folder)
        if base is None:
            related = [f"looked in {entry.place.source.folder} and among the built-in scenarios"]
            message = f"there is no scenario `{entry.value}` to extend"
            diagnostics.append(diagnose("E140", entry.place, message, address=address, related=related))
        elif base in chain:
            names = " -> ".join(each.name for each in (*chain[chain.index(base) :], base))
            diagnostics.append(diagnose("E121", entry.place, f"files extend each other: {names}", address=address))
        else:
            _read_base_file(base, chain, cwd, layers, diagnostics)


def _read_base_file(
    base: Path, chain: tuple[Path, ...], cwd: Path, layers: list[Layer], diagnostics: list[Diagnostic]
) -> None:
    try:
        tree = read_file(base, shown_path(base, cwd), diagnostics)
    except ReadError as error:
        diagnostics.append(error.diagnostic)
        return
    _read_extends(tree, (*chain, base), cwd, layers, diagnostics)
    layers.append(Layer("extends", tree))


def _base_path(text: str, folder: Path) -> Path | None:
    path = folder / Path(text).expanduser()
    if path.is_file():
        return path.resolve()
    builtin = find_builtin(text)
    return builtin.resolve() if builtin is not None else None


def read_values(paths: Sequence[Path], cwd: Path, diagnostics: list[Diagnostic]) -> list[Layer]:
    """The `--values` files."""
    layers: list[Layer] = []
    for path in paths:
        if not (cwd / path).is_file():
            raise UsageError(f"there is no file {str(path)!r} for --values")
        try:
            tree = read_file(cwd / path, shown_path((cwd / path).absolute(), cwd), diagnostics, OVERRIDES)
        except ReadError as error:
            diagnostics.append(error.diagnostic)
        else:
            layers.append(Layer("values", tree))
    return layers


def target_assignments(root: Node, target: str) -> list[Assignment]:
    """What a target overrides."""
    bundle = root.find(("targets", target, "set"))
    if bundle is None or not isinstance(bundle.value, dict):
        return []
    return [
        Assignment(f"target {target}", address, value, value.key or value.place)
        for address, value in bundle.value.items()
    ]


def variable_assignments(env: Mapping[str, str], cwd: Path, diagnostics: list[Diagnostic]) -> list[Assignment]:
    """`SCENARIO__A__B=value`, by name."""
    found: list[Assignment] = []
    for name in sorted(env):
        if name.startswith(VARIABLE_PREFIX):
            value = _option_value(name, env[name], 0, cwd, diagnostics)
            if value is not None:
                found.append(Assignment("environment", name, value, option_place(name, env[name], cwd)))
    return found


def set_assignments(options: Sequence[str], cwd: Path, diagnostics: list[Diagnostic]) -> list[Assignment]:
    """`--set address=value`."""
    found: list[Assignment] = []
    for option in options:
        address, equals, _ = option.partition("=")
        if not equals or not address.strip():
            raise UsageError(f"--set {option!r} sets nothing", hint="write --set ADDRESS=VALUE, as in workload.batch=4")
        value = _option_value("--set", option, len(address) + 1, cwd, diagnostics)
        if value is not None:
            place = replace(value.place, line=1, column=1, end_column=len(address) + 1)
            found.append(Assignment("set", address.strip(), value, place))
    return found


def _option_value(name: str, text: str, start: int, cwd: Path, diagnostics: list[Diagnostic]) -> Node | None:
    """The YAML value in a text from `start`; what stands before is blanked, so that columns stay true."""
    source = Source(name, (text,), cwd, is_file=False)
    try:
        return read_text(" " * start + text[start:], source, diagnostics)
    except ReadError as error:
        diagnostics.append(replace(error.diagnostic, hint=error.diagnostic.hint or "quote the value"))
        return None


def declared_assignments(root: Node, env: Mapping[str, str], flags: Mapping[str, str], cwd: Path) -> list[Assignment]:
    """What variables take from their own environment variables (empty counts as unset), then from their flags.

    Raises:
        UsageError: a flag that no variable declares.
    """
    declared = root.child("vars")
    variables = dict(declared.value) if declared is not None and isinstance(declared.value, dict) else {}
    from_env: list[Assignment] = []
    by_flag: dict[str, str] = {}
    for name, variable in variables.items():
        by_flag[name] = name
        flag, env_name = variable.child("flag"), variable.child("env")
        if flag is not None:
            by_flag[str(flag.value)] = name
        if env_name is not None and env.get(str(env_name.value)):
            text = env[str(env_name.value)]
            from_env.append(_declared("env", variable, name, option_place(str(env_name.value), text, cwd)))
    return [*from_env, *_flag_assignments(flags, by_flag, variables, cwd)]


def _flag_assignments(
    flags: Mapping[str, str], by_flag: Mapping[str, str], variables: Mapping[str, Node], cwd: Path
) -> list[Assignment]:
    found = []
    for flag, text in flags.items():
        if flag not in by_flag:
            close = nearest(flag, by_flag, 1)
            hint = f"did you mean {close[0]}?" if close else "a variable declares its option with `flag: --name`"
            raise UsageError(f"no variable of the scenario declares {flag}", hint=hint)
        name = by_flag[flag]
        found.append(_declared("flag", variables[name], name, option_place(flag, text, cwd)))
    return found


def _declared(layer: str, variable: Node, name: str, place: Place) -> Assignment:
    """The text by the type of the variable, not by what it looks like."""
    kind = variable.child("type")
    is_text = kind is not None and kind.value in ("string", "enum")
    value = Node(place.text, place)
    if not is_text:
        with suppress(ReadError):  # the text stays, and its type is wrong
            value = replace(read_text(place.text, place.source, []), place=place)
    return Assignment(layer, dotted(("vars", name)), value, place)
