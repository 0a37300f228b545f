import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Answers each request as many times as it says."""

    def initialize(self, args):
        self.more = int(json.loads(args["model_config"])["parameters"]["more"]["string_value"])

    def execute(self, requests):
        for request in requests:
            self._answer(request, request.get_response_sender())

    def _answer(self, request, sender):
        count = int(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy().flat[0]) + self.more
        delay = pb_utils.get_input_tensor_by_name(request, "DELAY_MS")
        delay_s = 0.0 if delay is None else float(delay.as_numpy().flat[0]) / 1000
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        if count < 0:
            error = pb_utils.TritonError("the request asked for a failure")
            sender.send(pb_utils.InferenceResponse(error=error), flags=final)
            return
        for number in range(count):
            time.sleep(delay_s)
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.array([[number]], np.int32))]))
        sender.send(flags=final)
