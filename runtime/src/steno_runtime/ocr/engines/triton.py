"""PP-OCR's two models on a Triton server, as sessions that RapidOCR takes in place of its own.

What RapidOCR does before and after a model stays in this process and is the same, so that the text is the same too.
Lines go to the server in batches of equal width: padding one to the width of another would change what is read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from steno_runtime.errors import WorkError
from steno_runtime.models import pp_ocr
from steno_runtime.triton import repository

if TYPE_CHECKING:
    import numpy as np

    from steno_runtime.triton.client import TritonClient

_SIDE_BY_SIDE = 4
"""Batches of one page's lines that are under way at a time."""


@cache
def remote_class(local: type[Any]) -> type[Any]:
    """Return a class of RapidOCR whose models are on a server.

    Args:
        local: the class of RapidOCR that it derives from.
    """
    from rapidocr.inference_engine.onnxruntime.main import ONNXRuntimeError

    class RemoteRapidOCR(local):
        def __init__(self, params: dict[str, Any], client: TritonClient) -> None:
            super().__init__(params={**params, "Rec.rec_batch_num": repository.RECOGNITION_BATCH})
            for section, session in (
                (self.cfg.Det, _detection_session(client)),
                (self.cfg.Rec, _recognition_session(client)),
            ):
                section._set_flag("allow_objects", True)  # noqa: SLF001 - OmegaConf has no other way after creation
                section.session = session

        def __call__(self, *args: Any, **options: Any) -> Any:
            try:
                return super().__call__(*args, **options)
            except ONNXRuntimeError as error:  # whatever a session raises
                if isinstance(error.__cause__, WorkError):
                    raise error.__cause__ from None
                raise

        def recognize_txt(self, img: list[np.ndarray]) -> Any:
            return _recognize_by_width(img, self.cfg.Rec.rec_img_shape, super().recognize_txt)

    return RemoteRapidOCR


def _detection_session(client: TritonClient) -> Any:
    """Return a session of the detection model; each run raises WorkError as `TritonClient.infer` does."""
    wanted = [repository.DETECTION_OUTPUT]

    def run(batch: np.ndarray) -> Any:
        client.check_model(repository.DETECTION, pp_ocr.model_digest("det"))
        found = client.infer(repository.DETECTION, {repository.DETECTION_INPUT: batch}, wanted)
        return found[repository.DETECTION_OUTPUT].copy()  # what gRPC received cannot be written to

    return _session_class()(run, repository.DETECTION_INPUT, {})


def _recognition_session(client: TritonClient) -> Any:
    """Return a session of the recognition model, likewise."""
    wanted = [repository.INDEX_OUTPUT, repository.PROBABILITY_OUTPUT]

    def run(batch: np.ndarray) -> Any:
        client.check_model(repository.RECOGNITION, pp_ocr.model_digest("rec"))
        found = client.infer(repository.RECOGNITION, {repository.RECOGNITION_INPUT: batch}, wanted)
        return _Likeliest(found[repository.INDEX_OUTPUT], found[repository.PROBABILITY_OUTPUT])

    return _session_class()(run, repository.RECOGNITION_INPUT, {"character": pp_ocr.characters()})


def _recognize_by_width(
    images: Sequence[np.ndarray], shape: Sequence[int], recognize: Callable[[list[np.ndarray]], Any]
) -> Any:
    """Recognize lines, some batches of equal width at a time.

    Args:
        images: of lines (height, width, 3).
        shape: channels, height and least width that a line is scaled and padded to.
        recognize: RapidOCR's own recognition of a batch.

    Returns:
        RapidOCR's result, in the order of `images`.
    """
    _, height, least = shape
    by_width: dict[int, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        by_width[int(height * max(least / height, image.shape[1] / image.shape[0]))].append(index)
    size = repository.RECOGNITION_BATCH
    batches = [group[at : at + size] for group in by_width.values() for at in range(0, len(group), size)]
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="triton") as pool:
        results = list(pool.map(recognize, [[images[index] for index in batch] for batch in batches]))
    where = {index: (row, at) for row, batch in enumerate(batches) for at, index in enumerate(batch)}
    order = [where[index] for index in range(len(images))]
    whole = results[0]
    whole.imgs = list(images)
    for name in ("txts", "scores", "word_results"):
        parts = [getattr(result, name) for result in results]
        setattr(whole, name, tuple(parts[row][at] for row, at in order))
    return whole


class _Likeliest:
    """The two things that RapidOCR asks of the probabilities of all characters, which stay on the server."""

    def __init__(self, index: np.ndarray, probability: np.ndarray) -> None:
        self._index = index
        self._probability = probability

    def argmax(self, axis: Literal[2]) -> np.ndarray:  # noqa: ARG002
        """Return the likeliest character of each place (lines, places)."""
        return self._index

    def max(self, axis: Literal[2]) -> np.ndarray:  # noqa: ARG002
        """Return its probability (lines, places)."""
        return self._probability


@cache
def _session_class() -> type[Any]:
    """Return the class of sessions: RapidOCR takes nothing but ONNX Runtime's own, or what derives from it."""
    from onnxruntime import InferenceSession

    class RemoteSession(InferenceSession):
        def __init__(self, run: Callable[[np.ndarray], Any], name: str, metadata: Mapping[str, str]) -> None:
            """Load nothing.

            Args:
                run: called with a batch.
                name: of the input.
                metadata: of the model.
            """
            self._run = run
            self._name = name
            self._metadata = dict(metadata)

        def __deepcopy__(self, memo: Any) -> RemoteSession:  # configurations are copied, connections are not
            return self

        def get_inputs(self) -> Any:
            return [SimpleNamespace(name=self._name)]

        def get_outputs(self) -> Any:
            return [SimpleNamespace(name="output")]

        def get_modelmeta(self) -> Any:
            return SimpleNamespace(custom_metadata_map=self._metadata)

        def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:  # noqa: ARG002
            return [self._run(input_feed[self._name])]

    return RemoteSession
