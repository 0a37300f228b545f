import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """OUTPUT0 = INPUT0 - INPUT1, OUTPUT1 = INPUT0 + INPUT1."""

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        first, second = (pb_utils.get_input_tensor_by_name(request, f"INPUT{n}").as_numpy() for n in range(2))
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("OUTPUT0", first - second), pb_utils.Tensor("OUTPUT1", first + second)]
        )
