"""PP-OCR's text line detector, as RapidOCR packages it: it finds lines in any script and crops them straightened."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from steno_runtime.ocr.engines.tiling import may_need_tiles, merge, tiles
from steno_runtime.ocr.geometry import Quad
from steno_runtime.ocr.resolution import letter_height

if TYPE_CHECKING:
    from steno_runtime.triton.client import TritonClient

DETECTION_SIDE = 1280
"""The longer side of a page, or of a tile of a large one, is scaled to this for detection: a third of the time of
2,000, and no line is missed."""


def rapid_ocr(threads: int, *, triton: TritonClient | None = None, **params: Any) -> Any:
    """Return a RapidOCR of the packaged PP-OCRv6 models, which run in this process or on a Triton server.

    Its direction classifier is off: on upright lines it turns some round (8 % of the characters of a clean page),
    and whole pages that lie on their side or head are turned by the pipeline.
    """
    params = {
        "Global.use_cls": False,
        "Global.max_side_len": 100_000,
        "Global.text_score": 0.0,  # lines of little confidence are kept: what is doubted is said, not dropped
        "Global.log_level": "error",
        "Rec.rec_batch_num": 1,  # on a CPU a batch only pads the shorter lines
        "Det.limit_type": "max",
        "Det.limit_side_len": DETECTION_SIDE,
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        **params,
    }
    if triton is None:
        return _rapid_class()(params=params)
    from steno_runtime.ocr.engines.triton import remote_class

    return remote_class(_rapid_class())(params, triton)


@cache
def _rapid_class() -> type[Any]:
    """Return a RapidOCR that scales pages by area for detection: its own scaling erases black-and-white scans."""
    import cv2
    from rapidocr import RapidOCR
    from rapidocr.ch_ppocr_det import TextDetOutput
    from rapidocr.main import RapidOCRError

    class AreaScaled(RapidOCR):
        unread: Sequence[np.ndarray] = ()
        """Corners of the lines that it found in the last image, but of which it read nothing."""

        def build_final_output(  # noqa: PLR0917 - as RapidOCR calls it
            self, ori_img: Any, det_res: Any, cls_res: Any, rec_res: Any, cropped_img_list: Any, op_record: Any
        ) -> Any:
            self.unread = ()
            if det_res.boxes is not None and rec_res.txts is not None:
                ratios = op_record["preprocess"]
                found = zip(det_res.boxes, rec_res.txts, strict=True)
                scale = ratios["ratio_w"], ratios["ratio_h"]
                self.unread = [np.multiply(corners, scale) for corners, text in found if not text.strip()]
            return super().build_final_output(ori_img, det_res, cls_res, rec_res, cropped_img_list, op_record)

        def detect_and_crop(self, img: np.ndarray, op_record: dict[str, Any]) -> tuple[list[np.ndarray], TextDetOutput]:
            height, width = img.shape[:2]
            if max(height, width) <= DETECTION_SIDE:
                return super().detect_and_crop(img, op_record)
            found: TextDetOutput | None = None
            boxes: list[np.ndarray] = []
            letter = letter_height(img) if may_need_tiles(width, height) else None
            for left, top, right, bottom in tiles(width, height, letter, DETECTION_SIDE):
                try:
                    found, seen = self._detect(img[top:bottom, left:right], op_record)
                except RapidOCRError:  # nothing on this tile
                    continue
                boxes.append(np.add(seen, (left, top), dtype=np.float32))
            if found is None:
                raise RapidOCRError("The text detection result is empty")
            found.boxes = merge(boxes)
            if len(boxes) > 1:
                found.scores = [1.0] * len(found.boxes)
            op_record["padding_1"] = {"top": 0, "left": 0}
            return self.crop_text_regions(img, found.boxes), found

        def _detect(self, img: np.ndarray, op_record: dict[str, Any]) -> tuple[TextDetOutput, np.ndarray]:
            """Return what is found on a part of a page, and its boxes in pixels of that part."""
            height, width = img.shape[:2]
            scale = min(1.0, DETECTION_SIDE / max(height, width))
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(img, size, interpolation=cv2.INTER_AREA) if scale < 1 else img
            _, found = super().detect_and_crop(small, op_record)
            padding = op_record["padding_1"]
            boxes = (np.asarray(found.boxes) - (padding["left"], padding["top"])) * (width / size[0], height / size[1])
            return found, boxes.astype(np.float32)

    return AreaScaled


def quad_of(corners: Any) -> Quad:
    """Return a detector's four corners (top left, then clockwise) as a quad."""
    a, b, c, d = ((float(x), float(y)) for x, y in corners)
    return a, b, c, d


class LineDetector:
    """Finds lines of text. An instance belongs to one thread."""

    def __init__(self, threads: int = 1, *, triton: TritonClient | None = None) -> None:
        self._threads = threads
        self._triton = triton
        self._rapid: Any = None

    def find(self, image: np.ndarray) -> list[tuple[Quad, np.ndarray]]:
        """Return each line's corners and its crop, straightened (height, width, 3; RGB)."""
        if self._rapid is None:
            self._rapid = rapid_ocr(self._threads, triton=self._triton)
        found = self._rapid(np.ascontiguousarray(image[:, :, ::-1]), use_det=True, use_cls=False, use_rec=False)
        return [] if found.boxes is None else [straightened(image, quad_of(corners)) for corners in found.boxes]


def straightened(image: np.ndarray, quad: Quad) -> tuple[Quad, np.ndarray]:
    """Return a line's corners as a reader of it sees them, and its crop (height, width, 3; RGB)."""
    from rapidocr.utils.process_img import get_rotate_crop_image

    a, b, c, d = quad
    crop = np.ascontiguousarray(get_rotate_crop_image(image, np.array(quad, dtype=np.float32)))
    tall = np.hypot(d[0] - a[0], d[1] - a[1]) >= 1.5 * np.hypot(b[0] - a[0], b[1] - a[1])
    return ((b, c, d, a) if tall else (a, b, c, d)), crop  # a tall crop comes turned left by a quarter
