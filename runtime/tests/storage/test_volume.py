"""Sources and results on mounted volumes: real directories, and the errors real file systems give."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from steno_api.failures import FailureReason
from steno_api.worker.task import TaskOutput, TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage import fetch, open_output
from steno_runtime.storage.volume import VolumeOutput


def read(path: Path, scratch: Path, **fields) -> Path:
    source = TaskSource(uri=f"pvc://recordings/{path.name}", path=str(path), **fields)
    return fetch(source, scratch, check=lambda: None, on_bytes=lambda *_: None)


def failure(call, *args, **kwargs) -> WorkError:
    with pytest.raises(WorkError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_a_mounted_file_is_read_in_place(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"abc")
    assert read(path, tmp_path / "scratch") == path
    assert not (tmp_path / "scratch").exists()


def test_what_is_missing_or_not_a_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.wav", tmp_path / "folder", tmp_path / "pipe", tmp_path / "file" / "below"):
        error = failure(read, path, tmp_path)
        assert error.reason is FailureReason.SOURCE_NOT_FOUND
        assert f"pvc://recordings/{path.name}" in error.message
        assert str(tmp_path) not in error.message


def test_a_mounted_file_that_is_too_large(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"abcd")
    assert failure(read, path, tmp_path, max_bytes=3).reason is FailureReason.TOO_LARGE


AS_NOBODY = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from steno_api.worker.task import TaskSource
    from steno_runtime.errors import WorkError
    from steno_runtime.storage import fetch
    from steno_runtime.storage.volume import VolumeOutput
    source, directory = sys.argv[1:]
    import steno_runtime.storage.download
    if os.getuid() == 0:
        os.setgroups([]); os.setgid(65532); os.setuid(65532)
    for call in (
        lambda: fetch(TaskSource(uri="pvc://c/a.wav", path=source), Path("/nowhere"), check=None, on_bytes=None),
        lambda: VolumeOutput("pvc://c/out", Path(directory)).check_writable(),
    ):
        try:
            call()
        except WorkError as error:
            print(error.reason)
""")


def test_the_workers_user_may_be_refused(tmp_path):
    source, directory = tmp_path / "a.wav", tmp_path / "out"
    source.write_bytes(b"abc")
    directory.mkdir()
    source.chmod(0)
    directory.chmod(0o500)
    for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(source), str(directory)], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["SourceForbidden", "OutputForbidden"]


@pytest.fixture
def output(tmp_path) -> VolumeOutput:
    made = open_output(TaskOutput(uri="pvc://results/a/b/uid", path=str(tmp_path / "a/b/uid"), formats=["json"]))
    assert isinstance(made, VolumeOutput)
    return made


def test_results_are_created_once_and_leave_nothing_else(output, tmp_path):
    output.check_writable()
    assert output.read("manifest.json") is None
    assert output.create("manifest.json", b"first", "application/json")
    assert not output.create("manifest.json", b"second", "application/json")
    assert output.read("manifest.json") == b"first"
    assert [path.name for path in (tmp_path / "a/b/uid").iterdir()] == ["manifest.json"]
    assert (tmp_path / "a/b/uid/manifest.json").stat().st_mode & 0o444


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links(output, tmp_path, monkeypatch, number):
    def refuse(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    assert output.create("a", b"first", "text/plain")
    assert not output.create("a", b"second", "text/plain")
    assert output.read("a") == b"first"
    assert [path.name for path in (tmp_path / "a/b/uid").iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_tidied_up(output, tmp_path):
    output.create("manifest.json", b"x", "application/json")
    (tmp_path / "a/b/uid/.transcript.json.abc.steno-tmp").write_bytes(b"half")
    output.cleanup()
    assert [path.name for path in (tmp_path / "a/b/uid").iterdir()] == ["manifest.json"]


def test_losing_the_temporary_file_to_a_winner_is_losing(output, tmp_path, monkeypatch):
    link = os.link

    def winner_first(temporary: Path, final: Path) -> None:
        Path(final).write_bytes(b"winner")
        output.cleanup()
        link(temporary, final)

    monkeypatch.setattr(os, "link", winner_first)
    assert not output.create("a", b"loser", "text/plain")
    assert output.read("a") == b"winner"


@pytest.mark.parametrize(
    ("number", "reason", "expected"),
    [
        (errno.ENOSPC, FailureReason.OUTPUT_UNAVAILABLE, "full"),
        (errno.EROFS, FailureReason.OUTPUT_FORBIDDEN, "Read-only"),
        (errno.EIO, FailureReason.OUTPUT_UNAVAILABLE, "Check the volume"),
        (errno.ESTALE, FailureReason.OUTPUT_UNAVAILABLE, "Check the volume"),
    ],
)
def test_an_error_of_the_file_system_has_its_reason(output, tmp_path, monkeypatch, number, reason, expected):  # noqa: PLR0917
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    error = failure(output.check_writable)
    assert error.reason is reason
    assert expected in error.message
    assert not list((tmp_path / "a/b/uid").iterdir())


def test_an_output_below_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    error = failure(VolumeOutput("pvc://c/file/x", tmp_path / "file" / "x").check_writable)
    assert error.reason is FailureReason.INVALID_SPEC
