"""TranscriptionJob: audio or video in, transcript documents out."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from steno_api.documents.manifest import TranscriptionSummary
from steno_api.model import Model
from steno_api.rules import Pattern, Rule
from steno_api.v1alpha1.common import DETECTION_RULE, LANGUAGE, Output, SecretRef, SpokenLanguages
from steno_api.v1alpha1.job import JOB_NAME_RULE, OWN_POD, JobSpec, JobStatus
from steno_api.v1alpha1.meta import PrinterColumn, Resource, ResourceDefinition


class TranscriptFormat(StrEnum):
    """Formats of a transcript."""

    JSON = "json"
    SRT = "srt"
    VTT = "vtt"
    TXT = "txt"


class SpeechModel(Model):
    """The speech model."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=253),
        Pattern(
            r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*",
            "must be a model's name such as large-v3 or Systran/faster-whisper-small",
        ),
    ] = "large-v3"
    """A directory of the model store, or a Whisper size (`large-v3`); where the profile's `hub.downloads` is `Any`,
    also the Hugging Face name of a CTranslate2 model."""
    compute_type: Literal["Auto", "float16", "float32", "int8", "int8_float16", "bfloat16", "int8_bfloat16"] = "Auto"
    """CTranslate2's compute type; `Auto`: float16 on a GPU, int8 on a CPU."""
    batch_size: Annotated[int, Field(ge=1, le=256)] | Literal["Auto"] = "Auto"
    """Windows decoded at a time; `Auto`: chosen by the memory of the profile's accelerator."""


class Diarization(Model):
    """Speaker labels."""

    rules = (
        Rule(
            "!has(self.minSpeakers) || !has(self.maxSpeakers) || self.minSpeakers <= self.maxSpeakers",
            "minSpeakers must not be greater than maxSpeakers",
            ".minSpeakers",
        ),
    )

    min_speakers: Annotated[int, Field(ge=1, le=64)] | None = None
    """At least this many; equal to `maxSpeakers` when the number is known."""
    max_speakers: Annotated[int, Field(ge=1, le=64)] | None = None
    """At most this many."""
    token_secret_ref: SecretRef | None = None
    """Secret with the key `HF_TOKEN`: a Hugging Face token whose account has accepted the licence of pyannote
    community-1, which labels the speakers."""


class AudioSelection(Model):
    """Which audio of the source is transcribed, where it has several tracks or channels."""

    track: Annotated[int, Field(ge=1, le=64)] | None = None
    """Number of the audio track; absent: the default one or, if that is silent, the first with sound."""
    channels: Annotated[int, Field(ge=1, le=64)] | Literal["Mix", "Split"] = "Mix"
    """`Mix`: all channels that hold anything; `Split`: each on its own, as a speaker (`CHANNEL_00` is the first), up to
    eight; or the number of one."""


class TranscriptOutput(Output):
    """Where the transcript is published, and in which formats."""

    formats: Annotated[
        list[TranscriptFormat], Field(min_length=1, max_length=4, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default=[TranscriptFormat.JSON])
    """Formats to write; the manifest is always written."""


class TranscriptionJobSpec(JobSpec):
    """What to transcribe, how, and where to publish the result."""

    rules = (
        *JobSpec.rules,
        DETECTION_RULE,
        Rule(
            "!has(self.diarization) || !has(self.audio) || !has(self.audio.channels) || self.audio.channels != 'Split'",
            "with audio.channels: Split each channel is a speaker already: leave diarization out",
            ".diarization",
        ),
        Rule(
            f"{OWN_POD} || !has(self.diarization) || !has(self.diarization.tokenSecretRef)",
            "diarization.tokenSecretRef needs a pod of its own: use execution: Job, or leave it out",
            ".diarization.tokenSecretRef",
        ),
    )

    output: TranscriptOutput  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    """Where to publish the results, and in which formats."""
    meeting_id: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(default=None, alias="meetingID")
    """Your own name for the recording; default: the resource's name."""
    model: SpeechModel = SpeechModel()
    """The speech model and how it runs."""
    language: Annotated[
        str,
        Field(min_length=2, max_length=35),
        Pattern(LANGUAGE, "must be auto or a BCP 47 language tag such as en, ko-KR or zh-Hant"),
    ] = "auto"
    """BCP 47 tag of the spoken language (a region does not matter), or `auto` to detect it."""
    languages: SpokenLanguages = Field(default=[])
    """With `language: auto`: BCP 47 tags of the only languages that may be detected; empty: all of the model's."""
    translate: bool = False
    """Write what is said in English, as Whisper translates it, instead of the language that is spoken. Word times are
    those of the translation, and less precise. Not all models can: `turbo`, distilled and English ones cannot."""
    audio: AudioSelection | None = None
    """The track and channel to transcribe; absent: chosen by what they hold, with a warning where that is a guess."""
    diarization: Diarization | None = None
    """Whether and how speakers are labelled; absent: no speaker labels."""


class TranscriptionJobStatus(JobStatus):
    """Observed state; written by the operator only."""

    summary: TranscriptionSummary | None = None
    """Figures of the finished transcription."""


class TranscriptionJob(Resource):
    """Audio or video in, transcript documents out."""

    definition: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="TranscriptionJob",
        plural="transcriptionjobs",
        short_names=("tj",),
        scope="Namespaced",
        columns=(
            PrinterColumn("Phase", ".status.phase"),
            PrinterColumn("Progress", ".status.progress.percent", "integer", "Percent of the attempt"),
            PrinterColumn("Duration", ".status.summary.duration", "number", "Seconds of audio"),
            PrinterColumn("Speed", ".status.summary.speed", "number", "Times real time"),
            PrinterColumn("Model", ".spec.model.name"),
            PrinterColumn("Language", ".status.summary.language", wide=True),
            PrinterColumn("Speakers", ".status.summary.speakers", "integer", wide=True),
            PrinterColumn("Attempt", ".status.attempt", "integer", wide=True),
            PrinterColumn("Warning", ".status.warnings[0].reason", wide=True),
            PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason', wide=True),
            PrinterColumn("Node", ".status.nodeName", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(JOB_NAME_RULE,),
        selectable=(".status.phase", ".spec.profileRef.name", ".spec.tenantRef.name"),
    )
    kind: Literal["TranscriptionJob"] = "TranscriptionJob"  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    spec: TranscriptionJobSpec
    status: TranscriptionJobStatus = TranscriptionJobStatus()
