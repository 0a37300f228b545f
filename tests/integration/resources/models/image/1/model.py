import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """MEAN of each channel of IMAGE."""

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("MEAN", images.mean(axis=(2, 3)))])
