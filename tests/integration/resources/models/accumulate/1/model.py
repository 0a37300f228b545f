import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Adds up a sequence, and refuses what is out of order."""

    def initialize(self, args):
        self.living = {}

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        start, end, ready, correlation = (
            int(pb_utils.get_input_tensor_by_name(request, name).as_numpy().flat[0])
            for name in ("START", "END", "READY", "CORRID")
        )
        value = float(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy().flat[0])
        problem = self._problem(correlation, start, ready, value)
        if problem:
            self.living.pop(correlation, None)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(problem))
        total, count = (0.0, 0) if start else self.living[correlation]
        self.living[correlation] = (total + value, count + 1)
        total, count = self.living.pop(correlation) if end else self.living[correlation]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("OUTPUT0", np.array([[total]], np.float32)),
                pb_utils.Tensor("OUTPUT1", np.array([[count]], np.int32)),
            ]
        )

    def _problem(self, correlation, start, ready, value):
        if not ready:
            return f"sequence {correlation} is not ready"
        if start and correlation in self.living:
            return f"sequence {correlation} starts again before its end"
        if not start and correlation not in self.living:
            return f"sequence {correlation} goes on without a start"
        return "the request asked for a failure" if value == -1 else None
