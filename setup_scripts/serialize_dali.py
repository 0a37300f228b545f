#!/usr/bin/env python3
"""Write a DALI pipeline as the file that Triton's DALI backend loads, with its arguments baked in.

The Python file holds one pipeline function that is marked `@autoserialize`. Batch size, device and number of threads in
the file are defaults: the backend replaces them by `max_batch_size`, the instance's GPU and the parameter `num_threads`
of the model. So no GPU is needed here, even for a pipeline that runs on one.

Beside the pipeline a sidecar `<output>.facts.json` says which DALI wrote it; its labels travel with every measurement.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class SerializeError(Exception):
    """A reason, in one line, why no pipeline can be written."""


def load_function(path: Path) -> Callable[..., Any]:
    """The one function of a file that is marked `@autoserialize`; whatever it imports is not looked into."""
    spec = importlib.util.spec_from_file_location("pipeline_source", path)
    if spec is None or spec.loader is None:
        raise SerializeError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # A pipeline may be defined with conditionals, which look their own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    marked = [each for each in vars(module).values() if getattr(each, "_is_autoserialize", False)]
    if len(marked) != 1:
        names = ", ".join(each.__name__ for each in marked) or "none"
        raise SerializeError(f"{path.name}: expected one function that is marked @autoserialize, found {names}")
    function: Callable[..., Any] = marked[0]
    return function


def check_arguments(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Refuse what neither the function nor DALI's `Pipeline` knows: DALI would take some of it without a word."""
    from nvidia.dali import Pipeline

    own, common = inspect.signature(function).parameters, inspect.signature(Pipeline.__init__).parameters
    unknown = [name for name in arguments if name not in own and name not in common]
    if unknown:
        known = ", ".join(own) or "none"
        raise SerializeError(f"{function.__name__} has no argument {', '.join(unknown)} (its arguments: {known})")


def serialize(function: Callable[..., Any], arguments: dict[str, Any]) -> bytes:
    """The pipeline's bytes; device-less unless the arguments say otherwise."""
    check_arguments(function, arguments)
    pipeline = function(**{"device_id": None, **arguments})
    return bytes(pipeline.serialize())


def write(output: Path, content: bytes, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    import nvidia.dali

    output.write_bytes(content)
    version = str(nvidia.dali.__version__)
    said = {
        "labels": {"dali": version},
        "facts": {"dali": version, "function": function.__name__, "arguments": arguments, "bytes": len(content)},
    }
    output.with_name(f"{output.name}.facts.json").write_text(json.dumps(said, indent=1))


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="file to write, usually model.dali")
    parser.add_argument("--pipeline", type=Path, required=True, help="Python file with the pipeline function")
    parser.add_argument("--arguments", type=json.loads, default={}, help="arguments of the function, a JSON object")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse_options(argv)
    try:
        function = load_function(options.pipeline)
        content = serialize(function, options.arguments)
    except SerializeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write(options.output, content, function, options.arguments)
    print(f"{options.output.name}: {function.__name__}({options.arguments}), {len(content)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
