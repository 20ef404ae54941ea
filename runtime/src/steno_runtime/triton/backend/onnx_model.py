"""ONNX Runtime as a model of Triton's Python backend: for servers without the onnxruntime backend.

It needs `numpy` and `onnxruntime` (`onnxruntime-gpu` on a GPU) in the server's Python. Requests that Triton
batched run as one call where their shapes are equal; nothing is padded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # pyright: ignore[reportMissingImports]  # the server's own


class TritonPythonModel:
    """What the Python backend loads."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model beside this file, with the options of the configuration."""
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = int(config["parameters"]["intra_op_thread_count"]["string_value"])
        providers: list[Any] = ["CPUExecutionProvider"]
        if args["model_instance_kind"] == "GPU":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(args["model_instance_device_id"])}))
        path = Path(__file__).with_name("model.onnx")
        self._session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=providers)
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = [entry["name"] for entry in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests of a batch, those of equal shape as one."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[Any, list[int]] = {}
        inputs: list[dict[str, Any]] = []
        for index, request in enumerate(requests):
            # By DLPack, as the outputs: backends that were built for NumPy 1 misread the arrays of NumPy 2.
            tensors = {name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for name in self._inputs}
            inputs.append(tensors)
            if request.is_cancelled():
                responses[index] = _failed("cancelled")
            else:
                groups.setdefault(tuple(tensors[name].shape[1:] for name in self._inputs), []).append(index)
        for group in groups.values():
            try:
                found = self._run([inputs[index] for index in group])
            except Exception as error:  # noqa: BLE001 - whatever ONNX Runtime raises is the client's to hear
                for index in group:
                    responses[index] = _failed(str(error)[:500])
                continue
            for index, outputs in zip(group, found, strict=True):
                wanted = requests[index].requested_output_names()
                tensors = [pb_utils.Tensor.from_dlpack(name, outputs[name]) for name in self._outputs if name in wanted]
                responses[index] = pb_utils.InferenceResponse(tensors)
        return responses

    def _run(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run inputs of equal shape as one batch, and return the outputs of each."""
        batch = {name: np.concatenate([part[name] for part in parts]) for name in self._inputs}
        ends = np.cumsum([len(part[self._inputs[0]]) for part in parts])[:-1]
        results: list[Any] = list(self._session.run(self._outputs, batch))
        found = [np.split(array, ends) for array in results]
        return [
            dict(zip(self._outputs, map(np.ascontiguousarray, rows), strict=True)) for rows in zip(*found, strict=True)
        ]


def _failed(message: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))
