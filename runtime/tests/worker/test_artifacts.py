"""One format that cannot be made does not cost the others: it is named in the document and in the manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steno_api.documents.manifest import OCRSummary
from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.publishing import Format, ManifestHeader, publish_or_adopt
from steno_runtime.storage.volume import VolumeOutput
from steno_runtime.worker.recognition import FORMATS
from steno_runtime.worker.run import write_files
from steno_runtime.worker.task_handler import AttemptContext

REFUSED = WorkError(FailureReason.UNSUPPORTED_MEDIA, "The PDF is signed; leave `pdf` out of the formats.")


class Scripted:
    """A document whose formats fail as told; each of its files says which warnings it had."""

    def __init__(self, failing: dict[str, BaseException], warnings: tuple[ResultWarning, ...] = ()) -> None:
        self._failing = failing
        self._warnings = warnings

    def write(self, fmt: str, target: Path) -> None:
        target.write_text(json.dumps([warning.message for warning in self._warnings]))
        if fmt in self._failing:
            raise self._failing[fmt]

    def summary(self) -> OCRSummary:
        return OCRSummary(
            pages=1, failed_pages=0, characters=1, confidence=1, engines={}, processing_seconds=1, pages_per_second=1
        )

    def warnings(self) -> tuple[ResultWarning, ...]:
        return self._warnings

    def with_warnings(self, warnings) -> Scripted:
        return Scripted(self._failing, (*self._warnings, *warnings))


class Handler:
    formats: dict[str, Format] = FORMATS


def write(make_ocr_task, tmp_path: Path, formats: list[str], document: Scripted):
    task = make_ocr_task(output={"uri": "pvc://results/x", "formats": formats})
    attempt = AttemptContext(
        task=task, check=lambda: None, on_progress=lambda *_: None, scratch=tmp_path, fetch=lambda _: Path(),
        seconds=lambda: 0.0,
    )  # fmt: skip
    return task, *write_files(Handler(), document, attempt)  # type: ignore[arg-type]


def test_o2_a_format_that_cannot_be_made_is_named_and_the_others_are_published(make_ocr_task, tmp_path):
    output = VolumeOutput("pvc://results/x", tmp_path / "results")
    formats = ["json", "pdf", "txt"]
    task, document, files = write(make_ocr_task, tmp_path, formats, Scripted({"pdf": REFUSED}))
    assert list(files) == ["json", "txt"]
    manifest = publish_or_adopt(
        output,
        ManifestHeader(task.job, 1, "acme", "s3://b/a.pdf"),
        document,
        files,
        formats=FORMATS,
        load_existing=lambda _: document,
    )
    assert [artifact.format for artifact in manifest.artifacts] == ["json", "txt"]
    (warning,) = manifest.warnings
    assert warning.reason == WarningReason.ARTIFACT_FAILED
    assert "pdf" in warning.message
    assert "signed" in warning.message
    assert json.loads(output.read("pages.json") or b"") == [warning.message]


def test_o2_what_an_adopted_document_does_not_say_is_in_the_manifest(make_ocr_task, tmp_path):
    output = VolumeOutput("pvc://results/x", tmp_path / "results")
    task, document, files = write(make_ocr_task, tmp_path, ["json", "pdf", "txt"], Scripted({"pdf": REFUSED}))
    output.create("pages.json", b"the other attempt's", "application/json")
    manifest = publish_or_adopt(
        output,
        ManifestHeader(task.job, 2, "acme", "s3://b/a.pdf"),
        document,
        files,
        formats=FORMATS,
        load_existing=lambda _: Scripted({"txt": REFUSED}),
    )
    assert [artifact.format for artifact in manifest.artifacts] == ["json"]
    (warning,) = manifest.warnings
    assert (warning.reason, warning.count) == (WarningReason.ARTIFACT_FAILED, 2)


@pytest.mark.parametrize(
    ("formats", "failing"), [(["pdf"], {"pdf": REFUSED}), (["json", "txt"], {"json": REFUSED, "txt": ValueError()})]
)
def test_o2_no_format_at_all_is_a_failure(make_ocr_task, tmp_path, formats, failing):
    with pytest.raises(WorkError) as failed:
        write(make_ocr_task, tmp_path, formats, Scripted(failing))
    assert failed.value.reason is FailureReason.UNSUPPORTED_MEDIA


@pytest.mark.parametrize("error", [Stopped(), MemoryError(), OSError(28, "No space left on device")])
def test_o2_what_the_machine_lacks_is_not_the_formats_fault(make_ocr_task, tmp_path, error):
    with pytest.raises(type(error)):
        write(make_ocr_task, tmp_path, ["json", "pdf"], Scripted({"pdf": error}))


@given(
    asked=st.sets(st.sampled_from(sorted(FORMATS)), min_size=1),
    failing=st.sets(st.sampled_from(["markdown", "pdf", "txt"])),
    defect=st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_o2_every_format_is_written_or_named(make_ocr_task, tmp_path, asked, failing, defect):
    error = ValueError("text of the page") if defect else REFUSED
    document = Scripted(dict.fromkeys(failing, error))
    if asked <= failing:
        with pytest.raises(WorkError):
            write(make_ocr_task, tmp_path, sorted(asked), document)
        return
    _, written, files = write(make_ocr_task, tmp_path, sorted(asked), document)
    named = {warning.message.split()[1] for warning in written.warnings()}
    assert set(files) == asked - failing
    assert named == asked & failing
    assert not any("text of the page" in warning.message for warning in written.warnings())
