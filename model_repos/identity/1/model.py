"""Each output is the input at the same place in the configuration, whatever its type and shape."""

import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        names = [[tensor["name"] for tensor in config[which]] for which in ("input", "output")]
        self._pairs = list(zip(*names, strict=True))

    def execute(self, requests):
        return [pb_utils.InferenceResponse(self._echo(request)) for request in requests]

    def _echo(self, request):
        return [
            pb_utils.Tensor(output, pb_utils.get_input_tensor_by_name(request, given).as_numpy())
            for given, output in self._pairs
        ]
