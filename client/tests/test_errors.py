"""Error reporting: messages and exit codes."""

from __future__ import annotations

import pytest
import typer

from steno_client.errors import CommandError, report_errors

INSTALL = (
    "steno: torch is not installed: working without a cluster needs the runtime: in a checkout of Steno, "
    "`pip install ./api ./runtime ./client` (Python 3.11 or 3.12)\n"
)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CommandError("the file is empty: record something", 64), 64, "steno: the file is empty: record something\n"),
        (KeyboardInterrupt(), 130, "steno: interrupted\n"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 69, INSTALL),
        (RuntimeError("two\nlines"), 70, "steno: unexpected RuntimeError: two lines (--debug shows where"),
        (ValueError(), 70, "steno: unexpected ValueError: ValueError"),
    ],
)
def test_errors_are_one_line_and_a_code(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as ended, report_errors():
        raise error
    assert ended.value.exit_code == code
    text = capsys.readouterr().err
    assert text.startswith(line)
    assert text.count("\n") == 1


def test_debug_lets_the_unexpected_through():
    with pytest.raises(RuntimeError, match="a defect"), report_errors(debug=True):
        raise RuntimeError("a defect")


def test_debug_shows_where_an_expected_error_came_from_and_keeps_its_code(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(typer.Exit) as ended, report_errors(debug=True):
        raise CommandError("no such job", 66) from KeyError("why")
    assert ended.value.exit_code == 66
    text = capsys.readouterr().err
    assert "KeyError: 'why'" in text
    assert text.endswith("steno: no such job\n")
