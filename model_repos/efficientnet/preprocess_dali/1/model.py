"""DALI on the CPU inside Triton's Python backend; the pipeline itself is `dali.py`.

All images of all requests of one call are decoded as one batch. A bad image fails the whole DALI batch and may leave
the pipeline unusable, so the pipeline is rebuilt and the batch is halved until the bad image is alone: only the
request that holds it gets an error.
"""

import importlib.util
import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils


def load_pipeline(directory):
    """The function `preprocess` of the `dali.py` in a folder, whatever else is called `dali`."""
    spec = importlib.util.spec_from_file_location("preprocess_dali", os.path.join(directory, "dali.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.preprocess


class Decoder:
    """A DALI pipeline that survives bad images."""

    def __init__(self, preprocess, max_batch, num_threads, arguments):
        self._preprocess, self._max_batch, self._num_threads = preprocess, max_batch, num_threads
        self._arguments = arguments
        self._build()

    def decode(self, images):
        """One result per image: an array, or the exception that it caused."""
        results = []
        for start in range(0, len(images), self._max_batch):
            results += self._batch(images[start : start + self._max_batch])
        return results

    def _build(self):
        self._pipeline = self._preprocess(
            batch_size=self._max_batch,
            num_threads=self._num_threads,
            device_id=None,
            prefetch_queue_depth=1,
            decoder="cpu",
            **self._arguments,
        )
        self._pipeline.build()

    def _batch(self, images):
        try:
            return list(self._run(images))
        except RuntimeError as error:
            self._build()
            if len(images) == 1:
                return [error]
        middle = len(images) // 2
        return self._batch(images[:middle]) + self._batch(images[middle:])

    def _run(self, images):
        self._pipeline.feed_input("INPUT", images)
        (pixels,) = self._pipeline.run()
        return np.array(pixels.as_array())  # a copy: the next run writes over DALI's own memory


def reason_of(error):
    """The line of a DALI error that says what is wrong; the rest is a stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "rror" in line and "ritical" not in line and "operator" not in line]
    return (telling or lines or ["unknown error"])[-1]


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        given = {key: value["string_value"] for key, value in config["parameters"].items()}
        shape = config["output"][0]["dims"]
        arguments = {"image_size": int(shape[-1])}
        if "hw_decoder_load" in given:
            arguments["hw_decoder_load"] = float(given["hw_decoder_load"])
        directory = os.path.join(args["model_repository"], args["model_version"])
        max_batch = max(1, int(config["max_batch_size"]))
        self._decoder = Decoder(load_pipeline(directory), max_batch, int(given.get("num_threads", 1)), arguments)

    def execute(self, requests):
        batches = [pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy() for request in requests]
        results = iter(self._decoder.decode([image for batch in batches for image in batch]))
        return [self._respond([next(results) for _ in batch]) for batch in batches]

    def _respond(self, results):
        for index, result in enumerate(results):
            if isinstance(result, Exception):
                message = f"image {index} of the request cannot be decoded: {reason_of(result)}"
                return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
        return pb_utils.InferenceResponse([pb_utils.Tensor("PIXELS", np.stack(results))])
