"""Model repositories: what is written, and that a real server loads it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models import pp_ocr
from steno_runtime.triton import repository
from steno_runtime.triton.client import TritonClient, TritonServer


def config_of(folder, model: str) -> ModelConfig:
    return text_format.Parse((folder / model / "config.pbtxt").read_text(), ModelConfig())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "a" / "models"
    options = repository.ExportOptions(backend="onnxruntime", device="cuda", instances=2, threads=3)
    return folder, repository.export(folder, options)


def test_the_manifest_has_a_digest_of_every_file(exported):
    folder, manifest = exported
    assert json.loads((folder / repository.MANIFEST).read_text()) == manifest
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {repository.MANIFEST}
    assert {file["path"] for file in manifest["files"]} == written
    for file in manifest["files"]:
        data = (folder / file["path"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest["models"] == ["ppocr_det", "ppocr_rec"]


def test_models_are_batched_on_as_many_instances_as_asked_for(exported):
    folder, manifest = exported
    for model in manifest["models"]:
        config = config_of(folder, model)
        assert (config.name, config.backend) == (model, "onnxruntime")
        assert config.max_batch_size > 1
        assert config.dynamic_batching.max_queue_delay_microseconds > 0
        assert [(group.count, group.kind) for group in config.instance_group] == [(2, 1)]  # KIND_GPU
        assert config.parameters["intra_op_thread_count"].string_value == "3"
        assert not (folder / model / "1/model.py").exists()


def test_the_python_backend_gets_a_model_of_its_own(tmp_path):
    manifest = repository.export(tmp_path / "models", repository.ExportOptions(backend="python"))
    for model in manifest["models"]:
        assert config_of(tmp_path / "models", model).backend == "python"
        assert "TritonPythonModel" in (tmp_path / "models" / model / "1/model.py").read_text()


def test_a_directory_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "theirs").write_text("x")
    with pytest.raises(WorkError, match="is not empty") as caught:
        repository.export(tmp_path, repository.ExportOptions())
    assert caught.value.reason is FailureReason.INVALID_SPEC
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_recognition_gives_the_likeliest_characters_of_the_same_model(exported):
    import onnxruntime

    folder, _ = exported
    lines = np.random.default_rng(0).uniform(-1, 1, (2, 3, 48, 320)).astype(np.float32)
    (every,) = onnxruntime.InferenceSession(pp_ocr.model_path("rec")).run(None, {"x": lines})
    best = onnxruntime.InferenceSession(folder / "ppocr_rec/1/model.onnx")
    index, probability = best.run([repository.INDEX_OUTPUT, repository.PROBABILITY_OUTPUT], {"x": lines})
    assert np.array_equal(index, every.argmax(axis=2))
    assert np.array_equal(probability, every.max(axis=2))


@pytest.mark.slow
def test_a_real_server_runs_what_was_exported(server):
    import onnxruntime

    lines = np.random.default_rng(1).uniform(-1, 1, (3, 3, 48, 96)).astype(np.float32)
    client = TritonClient(TritonServer.from_url(server.url))
    outputs = [repository.INDEX_OUTPUT, repository.PROBABILITY_OUTPUT]
    found = client.infer(repository.RECOGNITION, {repository.RECOGNITION_INPUT: lines}, outputs)
    (every,) = onnxruntime.InferenceSession(pp_ocr.model_path("rec")).run(None, {"x": lines})
    assert np.array_equal(found[repository.INDEX_OUTPUT], every.argmax(axis=2))
    assert np.allclose(found[repository.PROBABILITY_OUTPUT], every.max(axis=2), atol=1e-5)
    client.close()
