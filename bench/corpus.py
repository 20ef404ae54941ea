"""Error rates and speed of Steno and its rivals on a corpus of recordings and pages: one table for each.

`python -m bench.corpus [--half even|odd] [--joined] [--degrade NAME …|all]`. The corpus is a folder with `speech.jsonl`
and `documents.jsonl` (see docs/evaluate.md), named by `STENO_CORPUS` or `--corpus`. Every item goes through every arm
that can read it, one arm after the other with a new first one each time, so that load on the machine affects all alike;
nothing else should run on it. Thresholds are chosen on the even items; the odd ones are what is reported.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import av
import numpy as np

from bench import degradation
from bench.rivals import MEDIA, PAGE_RIVALS, pages_of, speech_rivals
from hack.models import build
from steno_client.errors import CommandError
from steno_client.evaluation.local import LocalPipelines
from steno_client.evaluation.manifest import (
    FILTER_KEYS,
    Filter,
    Item,
    Medium,
    corpus_manifests,
    half_of,
    read_manifest,
    select,
)
from steno_client.evaluation.recognisers import Recogniser, RecogniserOptions, Recognition, evaluate
from steno_client.evaluation.summary import Group, Outcome, by_condition, by_kind, by_language, group, summarise
from steno_client.local import RecognitionRequest
from steno_runtime.cores import use_passive_waits
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import SAMPLE_RATE, read_audio
from steno_runtime.stt import ctranslate
from steno_runtime.stt.options import TranscriptionOptions

STENO = "steno"
PAUSE = np.zeros(SAMPLE_RATE // 2, np.float32)
JOINED_SECONDS = 600
"""Joined recordings are of at most this length."""
LOST = 0.3
"""Share of wrong characters above which a document must have a warning."""


class CountedPipelines(LocalPipelines):
    """Steno's pipelines, whose engine counts the windows it decodes, and those again of which it doubts the text."""

    windows = again = 0

    def recognise(self, item: Item) -> Recognition:
        """See `Recogniser`."""
        engines = ctranslate.CTranslateEngine
        decode, fall_back = engines._decode, engines._decode_with_fallback  # noqa: SLF001 - only a benchmark asks

        def counted(engine, windows, *args, **options):  # noqa: ANN001, ANN002, ANN003, ANN202 - as the method's
            self.windows += len(windows)
            return decode(engine, windows, *args, **options)

        def counted_again(engine, windows, *args, **options):  # noqa: ANN001, ANN002, ANN003, ANN202
            before = self.windows
            found = fall_back(engine, windows, *args, **options)
            self.again += self.windows - before
            return found

        engines._decode, engines._decode_with_fallback = counted, counted_again  # noqa: SLF001
        try:
            return super().recognise(item)
        finally:
            engines._decode, engines._decode_with_fallback = decode, fall_back  # noqa: SLF001


def write_wav(path: Path, audio: degradation.Audio) -> None:
    """Write samples as a 32-bit float WAV, which holds them as they are."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=SAMPLE_RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio[None]), "flt", "mono")
        frame.sample_rate = SAMPLE_RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def degraded(item: Item, names: Sequence[str], folder: Path) -> Iterator[Item]:
    """Yield the item itself, and one made from it for each change that fits it."""
    yield item
    changes = degradation.AUDIO if item.medium is Medium.RECORDING else degradation.PAGES
    for name in names:
        if name not in changes:
            continue
        file = folder / f"{item.id}.{name.replace('/', ' per ')}"
        made = replace(item, condition=name, password=None)
        try:
            if item.medium is Medium.RECORDING:
                file = file.with_name(file.name + ".wav")
                write_wav(file, degradation.AUDIO[name](read_audio(item.file, check=lambda: None)))
            else:
                file = file.with_name(file.name + ".tif")
                first, *rest = [degradation.PAGES[name](page) for page in pages_of(item)]
                dpi = first.info.get("dpi", (200, 200))
                first.save(file, save_all=True, append_images=rest, dpi=dpi, compression="tiff_deflate")
        except WorkError as error:
            print(f"{item.id}: not made: {name}: {error}", file=sys.stderr)
            continue
        yield replace(made, file=file)
        file.unlink(missing_ok=True)


def joined(items: Iterable[Item], folder: Path) -> list[Item]:
    """Return one long recording for each language: all of its recordings with a text, with half a second between."""
    made: list[Item] = []
    found = sorted((item for item in items if item.medium is Medium.RECORDING and item.reference), key=by_language)
    for language, members in itertools.groupby(found, by_language):
        parts: list[degradation.Audio] = []
        texts: list[str] = []
        for item in members:
            parts += [read_audio(item.file, check=lambda: None), PAUSE]
            texts.append(item.reference or "")
            if sum(map(len, parts)) > JOINED_SECONDS * SAMPLE_RATE:
                break
        audio = np.concatenate(parts)
        file = folder / f"joined-{language}.wav"
        write_wav(file, audio)
        seconds = len(audio) / SAMPLE_RATE
        made.append(
            Item(file.stem, file, Medium.RECORDING, (language,), "joined", reference=" ".join(texts), duration=seconds)
        )
    return made


def run(items: Iterable[Item], arms: dict[str, Recogniser], rounds: int) -> dict[str, list[Outcome]]:
    """Recognise every item with every arm; of several rounds the median time counts, and the first's text."""
    found: dict[str, list[Outcome]] = {name: [] for name in arms}
    for number, item in enumerate(items):
        able = [name for name in arms if MEDIA.get(name, item.medium) is item.medium]
        tries: dict[str, list[Outcome]] = {name: [] for name in able}
        for turn in range(rounds):
            first = (number + turn) % len(able)
            for name in (*able[first:], *able[:first]):
                [outcome] = evaluate([item], arms[name])
                tries[name].append(outcome)
        for name, outcomes in tries.items():
            seconds = statistics.median(outcome.seconds for outcome in outcomes)
            found[name].append(replace(outcomes[0], seconds=seconds))
            if outcomes[0].error:
                print(f"{name}: {item.id}: {outcomes[0].error}", file=sys.stderr)
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def table(found: dict[str, list[Outcome]], medium: Medium, title: str, key: Callable[[Item], str]) -> Iterator[str]:
    """Yield the lines of a Markdown table: a row for each group, for each arm its errors and Steno's speed by its."""
    chosen = {name: [one for one in outcomes if one.item.medium is medium] for name, outcomes in found.items()}
    chosen = {name: outcomes for name, outcomes in chosen.items() if outcomes}
    groups = {
        name: {one.name: one for one in (*group(outcomes, key), summarise("all", outcomes))}
        for name, outcomes in chosen.items()
    }
    if not groups:
        return
    first = next(iter(groups.values()))
    figures = "errors %, speed" if medium is Medium.RECORDING else "characters wrong % (words found %), pages/s"
    yield f"| {title} | items | " + " | ".join(f"{name}: {figures}" for name in groups) + " |"
    yield "|---|---|" + "---|" * len(groups)
    for label in first:
        cells = [_cell(by_name.get(label), first[label]) for by_name in groups.values()]
        yield f"| {label} | {first[label].items} | " + " | ".join(cells) + " |"
    yield ""


def _cell(found: Group | None, steno: Group) -> str:
    """Return `12.3, 8.1 (1.40)`: error rate, times real time (or pages a second), and Steno's speed by this one's.

    Pages are scored by character, and by the words found in whatever order: that of a table is open.
    """
    if found is None:
        return ""
    wrong = found.errors if found.page_speed is None else found.characters
    errors = f"{100 * wrong.rate:.1f}" if wrong and wrong.rate is not None else "-"
    if found.hallucinated_words:
        errors += f" +{found.hallucinated_words}"
    if found.words_found and found.words_found.rate is not None:
        errors += f" ({100 * found.words_found.rate:.1f})"
    speed, own = found.audio_speed or found.page_speed, steno.audio_speed or steno.page_speed
    if speed is None or own is None:
        return errors
    return f"{errors}, {speed.overall:.2f} ({own.overall / speed.overall:.2f})"


def unwarned(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield how many documents are mostly lost, and which of them have no warning that says so.

    Where nearly all words were found, only their order differs from the reference's, which of a PDF's tables is often
    that of its own text: column by column.
    """
    lost = [
        one
        for one in outcomes
        if one.item.medium is Medium.DOCUMENT
        and one.scores is not None
        and one.scores.characters is not None
        and (one.scores.characters.rate or 0) > LOST
    ]
    silent = [one for one in lost if not one.warnings]
    if lost:
        yield f"Of {len(lost)} documents with over {LOST:.0%} of the characters wrong, {len(silent)} have no warning"
    for one in silent:
        found = one.scores.words_found if one.scores else None
        words = "" if found is None or found.rate is None else f": {found.rate:.0%} of the words found"
        yield f"  {one.item.id} ({one.item.condition or 'as it is'}){words}"


def _filter(text: str) -> Filter:
    key, _, pattern = text.partition("=")
    if key not in FILTER_KEYS or not pattern:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=PATTERN with a KEY of {', '.join(FILTER_KEYS)}")
    return Filter(key, pattern)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    changes = [*degradation.AUDIO, *degradation.PAGES]
    parser.add_argument("--corpus", type=Path, default=os.environ.get("STENO_CORPUS"), help="by default $STENO_CORPUS")
    parser.add_argument("--half", choices=("even", "odd"))
    parser.add_argument("--only", type=_filter, action="append", default=[], metavar="KEY=PATTERN")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--joined", action="store_true", help="recordings joined to one for each language, instead")
    parser.add_argument("--degrade", nargs="+", default=[], metavar="NAME", choices=[*changes, "all"])
    parser.add_argument("--arms", nargs="+", default=[], choices=[*MEDIA], help="rivals; by default all")
    parser.add_argument("--by", choices=("language", "kind", "condition"), action="append", default=[])
    parser.add_argument("--language", choices=("given", "auto"), default="given")
    modes = ("skip", "redo", "force")
    parser.add_argument("--mode", choices=modes, default="skip", help="force: PDFs' own text is read, as rivals do")
    parser.add_argument("--model", default="whisper-base")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of all arms that decode speech")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.corpus is None:
        parser.error("name a corpus: --corpus or STENO_CORPUS")
    if "all" in arguments.degrade:
        arguments.degrade = changes
    return arguments


def main() -> None:
    warnings.filterwarnings("ignore")
    arguments = parse()
    use_passive_waits()
    try:
        items = [item for manifest in corpus_manifests(arguments.corpus) for item in _half(manifest, arguments.half)]
    except CommandError as error:
        sys.exit(str(error))
    items = select(items, arguments.only, arguments.limit)
    store = build()
    options = RecogniserOptions(languages=arguments.language, diarize=False)
    transcription = TranscriptionOptions(model=arguments.model, model_store=store, device=arguments.device)
    steno = CountedPipelines(transcription, RecognitionRequest(Path(), store, mode=arguments.mode), options)
    arms: dict[str, Recogniser] = {STENO: steno}
    media = {item.medium for item in items}
    for name, make in {**speech_rivals(store, arguments.model, arguments.device), **PAGE_RIVALS}.items():
        if MEDIA[name] in media and name in (arguments.arms or MEDIA):
            arms[name] = make()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.joined:
            items = joined(items, Path(folder))
        every = (made for item in items for made in degraded(item, arguments.degrade, Path(folder)))
        found = run(every, arms, arguments.rounds)
    for line in report(found, arguments.by, degraded=bool(arguments.degrade)):
        print(line)
    if steno.windows:
        share = 100 * steno.again / (steno.windows - steno.again)
        print(f"Steno decoded {steno.windows} windows, {steno.again} of them again ({share:.1f} % more)")
    if arguments.json:
        rows = [{"arm": arm, **asdict(outcome)} for arm, outcomes in found.items() for outcome in outcomes]
        arguments.json.write_text(json.dumps(rows, default=str, ensure_ascii=False, indent=1))


def report(found: dict[str, list[Outcome]], names: Sequence[str], *, degraded: bool) -> Iterator[str]:
    """Yield the tables of recordings and of documents.

    Args:
        found: the outcomes of each arm.
        names: what to group by; empty: all that differ.
        degraded: whether items were changed.
    """
    grouping = {"language": by_language, "kind": by_kind, "condition": by_condition}
    for medium in Medium:
        for name in names or ("language", "kind", *(["condition"] if degraded else [])):
            yield from table(found, medium, f"{medium.value}s by {name}", grouping[name])
    yield from unwarned(found[STENO])


def _half(manifest: Path, half: str | None) -> Sequence[Item]:
    items = read_manifest(manifest)
    return items if half is None else half_of(items, half)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
