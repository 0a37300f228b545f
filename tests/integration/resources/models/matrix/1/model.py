import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """OUTPUT = INPUT."""

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        given = pb_utils.get_input_tensor_by_name(request, "INPUT")
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", given.as_numpy())])
