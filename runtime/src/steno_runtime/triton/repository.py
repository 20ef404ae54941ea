"""Triton model repository: Steno's models, each with its configuration, and a manifest with a digest of every file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models import pp_ocr
from steno_runtime.triton import backend
from steno_runtime.triton.client import DIGEST_PARAMETER

if TYPE_CHECKING:
    from onnx import ModelProto

Backend = Literal["onnxruntime", "python"]
Device = Literal["cpu", "cuda"]

MANIFEST = "steno-manifest.json"
DETECTION, RECOGNITION = "ppocr_det", "ppocr_rec"
DETECTION_INPUT = RECOGNITION_INPUT = "x"
DETECTION_OUTPUT = "fetch_name_0"
INDEX_OUTPUT, PROBABILITY_OUTPUT = "index", "probability"
"""Of the likeliest character at each place of a line. The model's own output has all 18,710 of them: 10 MB a line."""

_DETECTION_BATCH, RECOGNITION_BATCH = 4, 16
"""Pages, and lines, that one call takes at most."""
_QUEUE_DELAY_US = 2000
_QUEUE_SIZE = 512
"""Requests that wait at most; more are refused at once, for the client to come again."""


@dataclass(frozen=True)
class ExportOptions:
    """What the models are served with.

    Attributes:
        backend: `onnxruntime`, or `python` for servers without that backend.
        device: where instances run.
        instances: of each model, side by side.
        threads: of each instance on a CPU.
    """

    backend: Backend = "onnxruntime"
    device: Device = "cpu"
    instances: int = 1
    threads: int = 1


def export(folder: Path, options: ExportOptions) -> dict[str, Any]:
    """Write a model repository.

    Args:
        folder: is created; an empty one is taken.
        options: backend and device.

    Returns:
        The manifest, as in `steno-manifest.json`.

    Raises:
        WorkError: `InvalidSpec` when the folder has something in it, or cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise WorkError(
                FailureReason.INVALID_SPEC, f"{folder} is not empty: give a new directory, or remove what is in it."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write_detection(draft, options)
            _write_recognition(draft, options)
            manifest = _manifest(draft, options)
            (draft / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
            draft.chmod(0o755)  # mkdtemp's own are for one user; a server is another
            draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise WorkError(FailureReason.INVALID_SPEC, f"{folder} cannot be written: {error.strerror}.") from error
    return manifest


def _write_detection(folder: Path, options: ExportOptions) -> None:
    config = _config(DETECTION, options, batch=_DETECTION_BATCH, digest=pp_ocr.model_digest("det"))
    config.input.add(name=DETECTION_INPUT, data_type="TYPE_FP32", dims=[3, -1, -1])
    config.output.add(name=DETECTION_OUTPUT, data_type="TYPE_FP32", dims=[1, -1, -1])
    _write_model(folder, config, pp_ocr.model_path("det").read_bytes())


def _write_recognition(folder: Path, options: ExportOptions) -> None:
    import onnx

    config = _config(RECOGNITION, options, batch=RECOGNITION_BATCH, digest=pp_ocr.model_digest("rec"))
    # Lines of clients come mixed: where a batch may have several widths, those of one width run together all the same.
    ragged = options.backend == "python"
    config.input.add(name=RECOGNITION_INPUT, data_type="TYPE_FP32", dims=[3, 48, -1], allow_ragged_batch=ragged)
    config.output.add(name=INDEX_OUTPUT, data_type="TYPE_INT64", dims=[-1])
    config.output.add(name=PROBABILITY_OUTPUT, data_type="TYPE_FP32", dims=[-1])
    model = onnx.load(pp_ocr.model_path("rec"))
    _give_best(model)
    _write_model(folder, config, model.SerializeToString())


def _give_best(model: ModelProto) -> None:
    """Let a recognition model give the likeliest character of each place instead of the probability of all."""
    from onnx import TensorProto, helper

    (every,) = model.graph.output
    model.graph.node.append(helper.make_node("ArgMax", [every.name], [INDEX_OUTPUT], axis=2, keepdims=0))
    model.graph.node.append(helper.make_node("ReduceMax", [every.name], [PROBABILITY_OUTPUT], axes=[2], keepdims=0))
    del model.graph.output[:]
    places = ["lines", "places"]
    model.graph.output.append(helper.make_tensor_value_info(INDEX_OUTPUT, TensorProto.INT64, places))
    model.graph.output.append(helper.make_tensor_value_info(PROBABILITY_OUTPUT, TensorProto.FLOAT, places))


def _config(name: str, options: ExportOptions, *, batch: int, digest: str) -> Any:
    """Return a model's configuration, without inputs and outputs.

    Args:
        name: of the model.
        options: backend and device.
        batch: rows of a call, at most.
        digest: SHA-256 of the file that it is made of.
    """
    from tritonclient.grpc.model_config_pb2 import ModelConfig  # pyright: ignore[reportAttributeAccessIssue]

    config: Any = ModelConfig(name=name, backend=options.backend, max_batch_size=batch)
    config.dynamic_batching.max_queue_delay_microseconds = _QUEUE_DELAY_US
    config.dynamic_batching.default_queue_policy.max_queue_size = _QUEUE_SIZE
    config.instance_group.add(count=options.instances, kind="KIND_GPU" if options.device == "cuda" else "KIND_CPU")
    config.parameters[DIGEST_PARAMETER].string_value = digest
    # The session options of RapidOCR; these are the onnxruntime backend's names.
    config.parameters["intra_op_thread_count"].string_value = str(options.threads)
    config.parameters["enable_mem_arena"].string_value = "0"
    return config


def _write_model(folder: Path, config: Any, model: bytes) -> None:
    from google.protobuf import text_format

    files = folder / config.name / "1"
    files.mkdir(parents=True)
    (files.parent / "config.pbtxt").write_text(text_format.MessageToString(config))
    (files / "model.onnx").write_bytes(model)
    if config.backend == "python":
        shutil.copyfile(Path(backend.__file__).with_name("onnx_model.py"), files / "model.py")


def _manifest(folder: Path, options: ExportOptions) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "version": version("steno-runtime"),
        "backend": options.backend,
        "device": options.device,
        "models": sorted(path.name for path in folder.iterdir()),
        "files": [
            {"path": os.fspath(path.relative_to(folder)), "bytes": path.stat().st_size, "sha256": _digest(path)}
            for path in files
        ],
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
