#!/usr/bin/env python3
"""Write samples for an ONNX model, in batches, and what ONNX Runtime makes of them on the CPU.

The output folder has `requests.json` (one entry a batch, input -> file beside it and shape), the files, raw, and
`reference.npz` with one array for each output, a row a sample. The last batch is filled up with its last sample.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import convert_precision
import model_samples as ms
import numpy as np


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Write the folder; its facts."""
    session = convert_precision.session(options.model)
    inputs = ms.interface(session.get_inputs())
    feeds = ms.samples(inputs, options)
    options.output.mkdir()
    reference = ms.run(session, feeds)
    np.savez(options.output / "reference.npz", **reference)
    batch = options.batch if any(not isinstance(each["shape"][0], int) for each in inputs.values()) else 1
    starts = range(0, len(feeds), batch)
    requests = [_request(feeds[start : start + batch], batch, options.output, start) for start in starts]
    (options.output / "requests.json").write_text(json.dumps(requests))
    return {"samples": len(feeds), "batch": batch}


def _request(feeds: list[ms.Feed], batch: int, folder: Path, start: int) -> dict[str, Any]:
    """One batch: a file for each input."""
    filled = feeds + [feeds[-1]] * (batch - len(feeds))
    request = {}
    for index, name in enumerate(filled[0]):
        values = np.concatenate([feed[name] for feed in filled])
        file = folder / f"{start}-{index}.bin"
        file.write_bytes(values.tobytes())
        request[name] = {"file": file.name, "shape": list(values.shape)}
    return request


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--model", type=Path, required=True, help="ONNX file whose outputs are the truth")
    parser.add_argument("--batch", type=int, default=1, help="samples of a request; default: 1")
    ms.add_options(parser, samples=32)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        facts = prepare(options)
    except (ImportError, ms.SampleError, OSError) as error:
        print(f"reference_outputs: {error}", file=sys.stderr)
        return 1
    sidecar = json.dumps({"labels": {}, "facts": facts}, indent=1)
    options.output.with_name(f"{options.output.name}.facts.json").write_text(sidecar + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
