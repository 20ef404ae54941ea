"""The cases of public bug reports that Steno is held to, and that each has its tests: their names have its number.

`S` cases are of speech, `O` of documents, `K` of operators; missing numbers are cases that were merged with others.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MEMBERS = ("api", "codegen", "operator", "runtime", "client", "gateway", "kube", "tests")

CASES = {  # number: (what is sent, what came of it before, what is right)
    "S1": ("words spaced differently by the next look", "words lost or doubled", "every word once"),
    "S2": ("a phrase that is really said six times", "chunk dropped", "all six"),
    "S3": ("scripts of three bytes a letter", "seven decodes a chunk", "as many as of English"),
    "S4": ("finalize within a sample", "noise from there on", "the same samples"),
    "S5": ("Chinese and Japanese sentences", "spaces between them", "none"),
    "S6": ("a sample that is not a number", "the rest lost", "silence for an instant, and a warning"),
    "S7": ("stereo that cancels itself out", "empty transcript", "the loudest channel, and a warning"),
    "S8": ("more channels than a layout has", "damaged, or the voice lost", "the voice"),
    "S9": ("a container's bytes as PCM", "a session of noise", "WebM and Ogg decoded, others refused by name"),
    "S10": ("first track without a decoder", "damaged", "the track that plays"),
    "S11": ("speech in the second track", "empty transcript", "the track with sound, and a warning"),
    "S12": ("a length that is only estimated", "refused as too large", "read"),
    "S14": ("short, equal and late cues", "flashes past the end", "cues that can be read"),
    "S15": ("long lines of Chinese or Japanese", "cut anywhere", "kinsoku line breaks"),
    "S16": ("jv, zh-CN, ko-KR", "refused", "BCP 47, in and out"),
    "S17": ("a language that changes", "nonsense in the first one", "each part in its language"),
    "S18": ("a file sent as fast as it goes", "closed with 1011", "all of it, pings answered"),
    "S19": ("whispering; floats in the wrong scale", "empty transcript", "brought to a level, and a warning"),
    "S21": ("WAV headers out of pipes", "refused by the client", "read"),
    "S22": ("base64 as Android and MIME make it", "the session ends", "read, or left out by name"),
    "S23": ("recordings glued together", "the first alone", "all of them"),
    "S24": ("one word and two speakers", "not defined", "the word, and no more speakers than there are"),
    "S25": ("sound that begins after the picture", "right", "times of the media"),
    "S26": ("a client that is simply gone", "right", "what was said is published"),
    "O1": ("a hyphen at a line's end in a PDF", "U+0002, lines joined", "a hyphen, two lines"),
    "O2": ("a scan with a form", "nothing published", "every format"),
    "O3": ("a form filled in by computer", "values missing", "values in the text"),
    "O4": ("a scan with a stamp as text", "the stamp alone", "the page"),
    "O5": ("text beside a very large picture", "refused", "the text that is there"),
    "O6": ("a long screenshot", "lines lost", "detected in tiles"),
    "O8": ("a resolution that lies", "scaled wrongly", "scaled by its letters"),
    "O9": ("photographs at 72 dpi in a PDF", "eight times the pixels", "their own resolution"),
    "O10": ("a tiny page with a fine picture", "unreadable", "the picture's resolution"),
    "O11": ("TIFFs of 12 bits or floats", "nonsense", "the page"),
    "O12": ("a sheet split by CropBox", "both halves twice", "each half once"),
    "O14": ("a PNG with large metadata", "damaged", "the page"),
    "O15": ("an XFA form", "its placeholder", "its values, or a failure that names it"),
    "O16": ("vertical Japanese", "order of rows", "columns from the right"),
    "O17": ("few words upside down", "nonsense", "turned upright"),
    "O18": ("a script that is guessed wrong", "no doubt", "another guess, or a warning"),
    "O19": ("rows from right to left", "order from the left", "order from the right"),
    "O21": ("a blank sheet with specks", "invented words", "blank"),
    "O22": ("a text layer by its looks only", "published", "rejected, and a warning"),
    "K1": ("three spot preemptions", "OutOfMemory, a retry lost", "free retries"),
    "K2": ("a sidecar that does not end", "Running for ever", "judged by the worker's container"),
    "K3": ("a container that cannot start", "silence", "the kubelet's words"),
    "K4": ("a deleted namespace", "nobody is served", "the others are"),
    "K5": ("no sandbox, no volume", "silence", "the kubelet's words"),
    "K6": ("a dead node, tolerated", "waits for ever", "another attempt"),
    "K7": ("a pod that kubelet rejects", "retries used up", "free retries, its words"),
    "K9": ("a LimitRange", "another reason", "its reason"),
    "K10": ("a missing Secret", "holds a GPU for ever", "ends, and says why"),
    "K11": ("defaults in lists", "drift", "in sync"),
    "K12": (
        "a child that another controller suspends",
        "started and stopped over and over",
        "left alone, and a reason",
    ),
    "K14": ("resources deleted while the operator is down", "right", "nothing is left behind"),
    "K15": ("a CRD too large for an annotation", "right", "below 200 KB"),
    "K16": ("an image that never comes", "right", "ends and is retried"),
    "K17": ("long and dotted names", "right", "valid names of children"),
    "K18": ("egress that is denied", "right", "OutputUnavailable within a minute"),
}


_TEST = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)
_NUMBER = re.compile(r"(?<=_)[sok]\d+(?=_|$)")


def _count_tests() -> Counter[str]:
    sources = (path.read_text() for member in MEMBERS for path in (ROOT / member).rglob("test_*.py"))
    return Counter(
        number.upper() for source in sources for name in _TEST.findall(source) for number in _NUMBER.findall(name)
    )


FOUND = _count_tests()


@pytest.mark.parametrize("number", CASES)
def test_every_case_has_a_test_by_its_number(number: str):
    assert FOUND[number], f"name a test of {CASES[number][0]} test_{number.lower()}_…"


def test_every_numbered_test_is_of_a_case():
    assert set(FOUND) <= set(CASES)
