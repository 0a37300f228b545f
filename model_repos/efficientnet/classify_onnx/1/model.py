"""ONNX Runtime on the CPU inside Triton's Python backend; all requests of one call become one batch."""

import json
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


def make_session(path, threads, spinning):
    """One session; spinning threads would take the processor from the other models."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        given = {key: value["string_value"] for key, value in config["parameters"].items()}
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        if not os.path.exists(path):
            raise pb_utils.TritonModelException(f"{path} is missing: give it under `files` in the scenario")
        threads = int(given.get("intra_op_num_threads", 1))
        self._session = make_session(path, threads, given.get("allow_spinning", "0"))
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name

    def execute(self, requests):
        batches = [pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy() for request in requests]
        together = batches[0] if len(batches) == 1 else np.concatenate(batches)
        (logits,) = self._session.run([self._output], {self._input: together})
        responses, start = [], 0
        for batch in batches:
            part = np.ascontiguousarray(logits[start : start + len(batch)])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", part)]))
            start += len(batch)
        return responses
