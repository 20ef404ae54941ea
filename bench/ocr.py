"""OCR speed and error rate, per engine, on pages with known text: `uv run python -m bench.ocr [--pages 4]`.

A4 at 200 dpi, rendered English and Korean prose with light noise, every second page skewed by one degree; and
photographs made of such pages (perspective, shadow, warm light). Error rates count spaces; runs of white space are
one space, texts are NFC.
The rows `alone` run RapidOCR and Tesseract from their packages, without Steno.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jiwer
import numpy as np
import tesserocr
from rapidocr import RapidOCR

from runtime.tests.ocr.render import DPI, Rendered, normal, page, photograph
from steno_runtime.ocr.engines.tesseract import tessdata
from steno_runtime.ocr.languages import tesseract_names
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.pipeline import RecognitionOptions
from steno_runtime.ocr.reader import PageReader

Run = Callable[[Path, Rendered], str]


def steno(language: str, engine: str) -> Run:
    options = RecognitionOptions(languages=(language,))
    reader = PageReader(engine=engine, languages=(language,), model_store=None, threads=1)  # type: ignore[arg-type]

    def run(path: Path, _: Rendered) -> str:
        source = open_source(path, options.limits, reuse_text=False)
        try:
            return reader.read(source.load(1)).text
        finally:
            source.close()

    return run


def bare_tesseract(language: str) -> Run:

    api = tesserocr.PyTessBaseAPI(
        path=str(tessdata()), lang="+".join(tesseract_names([language])), psm=tesserocr.PSM.AUTO
    )

    def run(path: Path, _: Rendered) -> str:
        api.SetImageFile(str(path))
        api.SetSourceResolution(DPI)
        return api.GetUTF8Text()

    return run


def bare_rapidocr() -> Run:

    params = {"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": 1}
    rapid = RapidOCR(params=params)

    def run(_: Path, rendered: Rendered) -> str:
        result = rapid(np.ascontiguousarray(np.asarray(rendered.image)[:, :, ::-1]))
        if result.boxes is None:
            return ""
        rows = sorted(zip(result.boxes, result.txts, strict=True), key=lambda row: float(row[0][:, 1].mean()))
        return " ".join(text for _, text in rows)

    return run


def measure(name: str, language: str, rendered: Sequence[Rendered], run: Run, folder: Path) -> None:

    seconds, cores, truth, seen = [], [], [], []
    for index, one in enumerate((rendered[0], *rendered)):  # the first is read twice: models load
        path = folder / f"{index}.png"
        one.image.save(path, dpi=(DPI, DPI), compress_level=1)
        wall, cpu = time.perf_counter(), time.process_time()
        text = run(path, one)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if index:
            seconds.append(wall)
            cores.append(cpu)
            truth.append(normal(one.text))
            seen.append(normal(text))
    rate = jiwer.cer(truth, seen)
    print(
        f"{name:<22} {language:<9} {len(rendered) / sum(seconds):8.2f} {statistics.median(seconds):8.2f} "
        f"{sum(cores) / len(cores):8.2f} {100 * rate:8.2f} %",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=4)
    pages = parser.parse_args().pages
    print(f"{'engine':<22} {'pages':<9} {'pages/s':>8} {'p50 s':>8} {'CPU s':>8} {'CER':>10}   (one thread)")
    for language in ("en", "ko"):
        sets = {
            language: [page(language, seed) for seed in range(pages)],
            f"{language} photo": [photograph(language, seed) for seed in range(max(1, pages // 2))],
        }
        runs = ["auto", "tesseract", *(["rapidocr"] if language == "en" else [])]
        for label, rendered in sets.items():
            with tempfile.TemporaryDirectory() as folder:
                for engine in runs:
                    measure(f"steno {engine}", label, rendered, steno(language, engine), Path(folder))
                measure("tesseract alone", label, rendered, bare_tesseract(language), Path(folder))
                measure("rapidocr alone", label, rendered, bare_rapidocr(), Path(folder))


if __name__ == "__main__":
    main()
