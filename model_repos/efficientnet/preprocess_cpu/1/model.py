"""Decoding, resizing and normalising with Pillow on the CPU: the same function as `dali.py`, without DALI.

Pillow comes from the environment of the server, or from a folder `packages` beside this file, which setup may put there
for images that lack it.
"""

import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import triton_python_backend_utils as pb_utils

MEAN = np.float32([0.485 * 255, 0.456 * 255, 0.406 * 255])
STD = np.float32([0.229 * 255, 0.224 * 255, 0.225 * 255])


def import_pillow(directory):
    """Pillow's modules for images and their orientation; what setup brought along comes last."""
    packages = os.path.join(directory, "packages")
    if os.path.isdir(packages) and packages not in sys.path:
        sys.path.append(packages)
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise pb_utils.TritonModelException(
            f"Pillow cannot be imported ({error}): install it into the server's environment, or give its unpacked "
            "wheel under `files` as 1/packages"
        ) from None
    return Image, ImageOps


class Decoder:
    """Encoded image -> normalised pixels, CHW; several at a time, because Pillow lets other threads run meanwhile."""

    def __init__(self, directory, image_size, num_threads):
        self._image, self._ops = import_pillow(directory)
        self._size = (image_size, image_size)
        self._pool = ThreadPoolExecutor(num_threads)

    def decode(self, images):
        """One result per image: an array, or the exception that it caused."""
        return list(self._pool.map(self._one, images))

    def close(self):
        self._pool.shutdown()

    def _one(self, encoded):
        try:
            # Orientation as the camera says, as DALI does; the filter widens when it makes images smaller, as DALI's.
            image = self._ops.exif_transpose(self._image.open(io.BytesIO(encoded))).convert("RGB")
            pixels = np.asarray(image.resize(self._size, self._image.Resampling.BILINEAR), np.float32)
        except (OSError, SyntaxError, ValueError) as error:
            return error
        return ((pixels - MEAN) / STD).transpose(2, 0, 1)


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        given = {key: value["string_value"] for key, value in config["parameters"].items()}
        directory = os.path.join(args["model_repository"], args["model_version"])
        image_size = int(config["output"][0]["dims"][-1])
        self._decoder = Decoder(directory, image_size, int(given.get("num_threads", 1)))

    def execute(self, requests):
        batches = [pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy() for request in requests]
        results = iter(self._decoder.decode([image for batch in batches for image in batch]))
        return [self._respond([next(results) for _ in batch]) for batch in batches]

    def finalize(self):
        self._decoder.close()

    def _respond(self, results):
        for index, result in enumerate(results):
            if isinstance(result, Exception):
                message = f"image {index} of the request cannot be decoded: {result}"
                return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
        return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", np.stack(results))])
