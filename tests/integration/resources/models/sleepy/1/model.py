import json
import os
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """OUTPUT0 = INPUT0 after a while, or a failure, as the request says."""

    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.delay_ms = float(parameters["delay_ms"]["string_value"])

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        fail = self._scalar(request, "FAIL", 0)
        time.sleep(self._scalar(request, "DELAY_MS", self.delay_ms) / 1000)
        if fail == 1:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("the request asked for a failure"))
        if fail == 2:
            os._exit(1)
        if fail == 3:
            raise RuntimeError("the request asked for an exception")
        given = pb_utils.get_input_tensor_by_name(request, "INPUT0")
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", given.as_numpy())])

    def _scalar(self, request, name, default):
        tensor = pb_utils.get_input_tensor_by_name(request, name)
        return default if tensor is None else tensor.as_numpy().flat[0]
