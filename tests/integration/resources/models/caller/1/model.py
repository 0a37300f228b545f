import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """OUTPUT0 = what sleepy makes of INPUT0."""

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        given = pb_utils.get_input_tensor_by_name(request, "INPUT0")
        call = pb_utils.InferenceRequest(model_name="sleepy", requested_output_names=["OUTPUT0"], inputs=[given])
        answer = call.exec()
        if answer.has_error():
            return pb_utils.InferenceResponse(error=answer.error())
        output = pb_utils.get_output_tensor_by_name(answer, "OUTPUT0")
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", output.as_numpy())])
