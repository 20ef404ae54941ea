"""Audio tracks of a container: those that can be decoded, the default one first, unless one is selected by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError

if TYPE_CHECKING:
    from av.container import InputContainer

_NAMES = """
aac aac_fixed aac_latm ac3 ac3_fixed adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha alac als amrnb amrwb
ape dca dss_sp dvaudio eac3 evrc flac g722 g723_1 g726 g726le g728 g729 gsm gsm_ms ilbc libopencore_amrnb
libopencore_amrwb libopus libspeex libvorbis mace3 mace6 mlp mp1 mp1float mp2 mp2float mp3 mp3adu mp3adufloat
mp3float mp3on4 mp3on4float nellymoser opus pcm_alaw pcm_bluray pcm_dvd pcm_f16le pcm_f24le pcm_f32be pcm_f32le
pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16be_planar pcm_s16le pcm_s16le_planar pcm_s24be pcm_s24le
pcm_s24le_planar pcm_s32be pcm_s32le pcm_s32le_planar pcm_s64be pcm_s64le pcm_s8 pcm_s8_planar pcm_u16be pcm_u16le
pcm_u24be pcm_u24le pcm_u32be pcm_u32le pcm_u8 qcelp qdm2 s302m sbc shorten sipr siren speex tak truehd truespeech
tta vorbis wavpack wmalossless wmapro wmav1 wmav2 wmavoice
"""
CODECS = frozenset(_NAMES.split())
"""FFmpeg's names of the decoders that a file may choose: those of recorders, phones, broadcasts and videos. It has as
many again for formats of games and old players, which are seldom used and seldom reviewed."""


@dataclass(frozen=True)
class Selection:
    """What to read of a file with several tracks or channels; numbers from 1, None: decided by what they hold."""

    track: int | None = None
    channel: int | None = None
    split: bool = False
    """Each channel on its own; see `media.channels`."""


@dataclass(frozen=True)
class Track:
    """An audio track.

    Attributes:
        index: among the audio tracks of the container, from 0.
        channels: number of channels, 0 if unknown.
        default: whether the container marks it as the one to play.
        label: its language and title, for people.
    """

    index: int
    channels: int = 0
    default: bool = False
    label: str = ""

    @property
    def name(self) -> str:
        """Number and label, for people."""
        return f"{self.index + 1} ({self.label})" if self.label else str(self.index + 1)


def list_tracks(container: InputContainer, selection: Selection) -> list[Track]:
    """Return the tracks that may be read, in the order in which to try them.

    Raises:
        WorkError: `UnsupportedMedia`: there is none; `InvalidSpec`: not the selected one.
    """
    from av.stream import Disposition

    streams = container.streams.audio
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        if "video" in kinds:
            raise _unsupported("The source is a video without an audio track: there is nothing to transcribe.")
        raise _unsupported(f"The source has no audio track (it has: {', '.join(kinds) or 'nothing'}).")
    found: list[Track] = []
    for index, stream in enumerate(streams):
        context = stream.codec_context
        if context is None or context.name not in CODECS:  # pyright: ignore[reportUnnecessaryComparison] - no decoder
            continue
        words = [stream.metadata.get("language", ""), stream.metadata.get("title", "")]
        label = ", ".join(word for word in words if word and word != "und")
        found.append(Track(index, context.channels, bool(stream.disposition & Disposition.default), label))
    if selection.track is not None:
        found = _selected(found, selection.track, len(streams))
    if not found:
        raise _unsupported("The source's audio has a codec that is not supported: export it as WAV, FLAC, MP3 or AAC.")
    if selection.channel is not None and 0 < found[0].channels < selection.channel:
        message = f"There is no channel {selection.channel}: track {found[0].name} has {found[0].channels}."
        raise WorkError(FailureReason.INVALID_SPEC, message)
    return sorted(found, key=lambda track: not track.default)


def describe_choice(chosen: Track, tracks: Sequence[Track]) -> ResultWarning:
    """Return the warning that one of several tracks was read."""
    others = ", ".join(track.name for track in sorted(tracks, key=lambda track: track.index) if track is not chosen)
    skipped = " because it is the first with sound" if chosen is not tracks[0] else ""
    message = (
        f"The source has {len(tracks)} audio tracks: {chosen.name} was read{skipped}, not {others}. Select another with"
        " audio.track."
    )
    return ResultWarning(reason=WarningReason.MANY_TRACKS, message=message)


def _selected(found: list[Track], number: int, count: int) -> list[Track]:
    if number > count:
        raise WorkError(FailureReason.INVALID_SPEC, f"There is no audio track {number}: the source has {count}.")
    return [track for track in found if track.index == number - 1]


def _unsupported(message: str) -> WorkError:
    return WorkError(FailureReason.UNSUPPORTED_MEDIA, message)
