"""The scenario's `workload`: what one request is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runner.cli.perf.data_files import expects_outputs
from runner.cli.perf.model import KnownModel
from runner.cli.perf.parsed import PerfOptions
from runner.errors import UsageError
from runner.units import format_bytes, format_fraction

STRING_LENGTH = 128
"""perf_analyzer's texts."""
_WITHOUT_KEYS = ("tls", "sequences")
"""Being there says something, even without a key."""
PathOf = Callable[[str], str]
"""A path as the scenario file has to write it."""
_IMAGE_INPUT = {"densenet_onnx": "data_0"}
"""The SLA client asks the server for the name of the one input; these are known without asking."""


def workload(options: PerfOptions, model: KnownModel | None, path: PathOf) -> dict[str, Any]:
    """Everything that differs from the schema's defaults.

    Raises:
        UsageError: the model needs other options.
    """
    if model is not None:
        _refuse_unfit(options, model)
    parts: dict[str, Any] = {
        "model": options.model,
        "version": options.version,
        "bls_models": [each.model for each in options.bls_models],
        "bls_versions": {each.model: each.version for each in options.bls_models if each.version},
        "protocol": options.protocol,
        "batch": options.batch if options.batch != 1 else None,
        "parameters": dict(options.parameters),
        "headers": dict(options.headers),
        "compression": options.compression if options.compression != "none" else None,
        "streaming": options.streaming or None,
        "tls": tls(options, path),
        **_tensors(options),
        **_data(options, model, path),
        "sequences": _sequences(options, model),
    }
    return {key: value for key, value in parts.items() if value is not None and (value or key in _WITHOUT_KEYS)}


def _refuse_unfit(options: PerfOptions, model: KnownModel) -> None:
    if model.decoupled and not options.streaming:
        raise UsageError(
            f"model {model.name!r} is decoupled: a request may have any number of answers",
            hint="add -i grpc --streaming",
        )
    if model.sequences and options.batch != 1:
        raise UsageError(
            f"model {model.name!r} keeps sequences: its requests hold one item, got -b {options.batch}",
            hint="remove -b",
        )
    if options.batch > max(model.max_batch, 1):
        takes = f"at most {model.max_batch} items per request" if model.max_batch else "no batches"
        raise UsageError(f"-b: model {model.name!r} takes {takes}, got {options.batch}", hint="lower -b")
    _refuse_shapes(options, model)


def _refuse_shapes(options: PerfOptions, model: KnownModel) -> None:
    given = dict(options.shapes)
    for name in given:
        if name not in model.inputs:
            raise UsageError(
                f"--shape: model {model.name!r} has no input {name!r}", hint=f"it has {', '.join(model.inputs)}"
            )
    if options.values or options.images:
        return
    for name, shape in model.open_inputs:
        if name not in given:
            sizes = ",".join("8" if size == -1 else str(size) for size in shape)
            raise UsageError(
                f"input {name!r} of model {model.name!r} has the open shape {list(shape)}",
                hint=f"say how large it is, for example --shape {name}:{sizes}",
            )


def _tensors(options: PerfOptions) -> dict[str, Any]:
    """How tensors travel."""
    shared = options.shared_memory != "none"
    return {
        "tensors": options.input_format if options.input_format != "binary" else None,
        "output_tensors": options.output_format if options.output_format != options.input_format else None,
        "shared_memory": options.shared_memory if shared else None,
        "output_bytes": format_bytes(options.output_bytes) if shared and options.output_bytes else None,
    }


def _data(options: PerfOptions, model: KnownModel | None, path: PathOf) -> dict[str, Any]:
    """What requests hold."""
    paths = [path(each) for each in options.values]
    checked = expects_outputs(options.values, model) and not _is_stateful(options, model)
    return {
        "data": paths[0] if len(paths) == 1 else paths,
        "input": _images(options, model, path),
        "shape": {name: list(shape) for name, shape in options.shapes},
        "generate": _generated(options, model),
        "validate": {"expect": "data", "every": 1} if checked else None,
    }


def _images(options: PerfOptions, model: KnownModel | None, path: PathOf) -> dict[str, Any]:
    if options.images is None:
        return {}
    known = model.inputs[0] if model is not None and model.inputs else None
    name = known or _IMAGE_INPUT.get(options.model, "IMAGE")
    return {name: {"from": path(options.images), "decode": {"scaling": options.scaling.lower()}}}


def _generated(options: PerfOptions, model: KnownModel | None) -> dict[str, Any]:
    found: dict[str, Any] = {"values": "zero"} if options.zeros else {}
    if options.string_data is not None:
        return {**found, "text": options.string_data}
    # Nobody needs to read of the length of texts where there are none.
    texts = model.has_texts if model is not None else options.string_length is not None
    if texts and not options.zeros and not options.values:
        found["text_length"] = options.string_length or STRING_LENGTH
    return found


def _is_stateful(options: PerfOptions, model: KnownModel | None) -> bool:
    asked = (options.sequences, options.sequence_length, options.sequence_variation, options.sequence_ids)
    return model.sequences if model is not None else options.serial_sequences or any(v is not None for v in asked)


def _sequences(options: PerfOptions, model: KnownModel | None) -> dict[str, Any] | None:
    if not _is_stateful(options, model):
        return None
    ids, at_a_rate = options.sequence_ids, options.rate or options.intervals
    found = {
        "count": options.sequences if at_a_rate else None,
        "length": options.sequence_length,
        "variation": None if options.sequence_variation is None else format_fraction(options.sequence_variation / 100),
        "first_id": int(ids.start) if ids is not None else None,
        "ids": int(ids.end - ids.start) if ids is not None and ids.end is not None else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def tls(options: PerfOptions, path: PathOf) -> dict[str, Any] | None:
    """Encryption: of gRPC where it is asked for, of HTTP where the URL says https."""
    if options.protocol == "grpc":
        if not options.grpc_tls:
            return None
        return _credentials(options.grpc_ca, options.grpc_cert, options.grpc_key, path)
    if not is_https(options):
        return None
    found = _credentials(options.https_ca, options.https_cert, options.https_key, path)
    return found if options.verify_peer else {**found, "verify": False}


def is_https(options: PerfOptions) -> bool:
    """Whether HTTP is to be encrypted."""
    return (options.url or "").startswith("https://")


def _credentials(ca: str | None, cert: str | None, key: str | None, path: PathOf) -> dict[str, Any]:
    given = {"ca": ca, "cert": cert, "key": key}
    return {name: path(value) for name, value in given.items() if value is not None}
