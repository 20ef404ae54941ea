"""`steno submit`: create jobs from manifests, or from options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from steno_client import options
from steno_client.commands.jobs import print_until_finished
from steno_client.errors import CommandError, report_errors

if TYPE_CHECKING:
    from steno_client.manifests import Manifest


class _FilesByDefault(TyperGroup):
    """`submit FILE.yaml` means `submit files FILE.yaml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["files", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_FilesByDefault,
    help="Create jobs from manifests (`steno submit FILE.yaml`), or from options.",
    no_args_is_help=True,
)

Wait = Annotated[bool, typer.Option("--wait", "-w", help="Follow it until it has finished, as `steno tail` does.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check and print the manifest.")]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the resource.", show_default="derived from the source")
]
Source = Annotated[str, typer.Option("--source", "-s", help="s3://bucket/key, https://host/path or pvc://claim/path.")]
Output = Annotated[str, typer.Option("--output", "-o", help="s3://bucket/prefix or pvc://claim/directory.")]
Formats = Annotated[
    list[str],
    typer.Option(
        "--format", "-f", callback=options.comma_separated, metavar="FORMAT,…", help="Formats to publish.",
        show_default="json",
    ),
]  # fmt: skip
_STORE = "Object store"
Secret = Annotated[
    str | None,
    typer.Option(help="Secret with the S3 credentials of source and output.", rich_help_panel=_STORE),
]
SourceSecret = Annotated[
    str | None, typer.Option(help="Secret of the source, if it has its own.", rich_help_panel=_STORE)
]
EndpointURL = Annotated[
    str | None,
    typer.Option(help="URL of the S3 server as reached from the cluster; default AWS.", rich_help_panel=_STORE),
]
Region = Annotated[str | None, typer.Option(help="S3 region.", rich_help_panel=_STORE)]
Profile = Annotated[str | None, typer.Option(help="RuntimeProfile: the resources of the worker.", show_default="gpu")]
Tenant = Annotated[
    str | None,
    typer.Option(
        help="Tenant to charge.",
        show_default="the Tenant that has the namespace, else the namespace's name",
    ),
]
Priority = Annotated[int | None, typer.Option(help="Waiting jobs with higher priority start first.", show_default="0")]


@app.command()
def files(
    paths: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="Manifests in YAML; - reads standard input.")
    ] = [],  # noqa: B006 - typer copies it
    more: Annotated[list[str], typer.Option("--filename", "-f", metavar="FILE", help="Same as FILE.")] = [],  # noqa: B006
    *,
    wait: Wait = False,
    dry_run: DryRun = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Create the resources of manifests. All are checked before the first one is created."""
    named = [*paths, *more]
    if not named:
        raise typer.BadParameter("give at least one FILE")

    def read() -> list[Manifest]:
        from steno_client import manifests  # noqa: PLC0415 - loads pydantic

        found: list[Manifest] = []
        for name in named:
            if name == "-":
                found += manifests.parse_manifests("standard input", sys.stdin.read())
            else:
                found += manifests.read_manifests(Path(name))
        return found

    _submit(read, namespace, context, kubeconfig, wait=wait, dry_run=dry_run, debug=debug)


@app.command()
def transcription(
    *,
    source: Source,
    output: Output,
    name: Name = None,
    formats: Formats = [],  # noqa: B006 - typer copies it
    model: Annotated[str | None, typer.Option(help="Speech model.", show_default="large-v3")] = None,
    language: Annotated[str | None, typer.Option("--language", "-l", help="BCP 47 tag.", show_default="auto")] = None,
    languages: options.Languages = [],  # noqa: B006 - typer copies it
    translate: options.Translate = False,
    channels: Annotated[
        Literal["mix", "split"] | None,
        typer.Option(help="split: each channel on its own, as a speaker.", show_default="mix"),
    ] = None,
    diarize: Annotated[bool, typer.Option("--diarize", help="Identify speakers.")] = False,
    min_speakers: Annotated[int | None, typer.Option(help="At least this many; implies --diarize.")] = None,
    max_speakers: Annotated[int | None, typer.Option(help="At most this many; likewise.")] = None,
    meeting_id: Annotated[str | None, typer.Option(help="Your own identifier of the recording.")] = None,
    profile: Profile = None,
    tenant: Tenant = None,
    priority: Priority = None,
    secret: Secret = None,
    source_secret: SourceSecret = None,
    endpoint_url: EndpointURL = None,
    region: Region = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Create a TranscriptionJob."""
    speakers = diarize or min_speakers is not None or max_speakers is not None
    spec: dict[str, Any] = {
        **_source_and_output(source, output, formats, _ClusterAccess(secret, source_secret, endpoint_url, region)),
        "meetingID": meeting_id,
        "model": None if model is None else {"name": model},
        "language": language,
        "languages": languages or None,
        "translate": translate or None,
        "audio": None if channels is None else {"channels": channels.capitalize()},
        "diarization": {"minSpeakers": min_speakers, "maxSpeakers": max_speakers} if speakers else None,
        "profileRef": None if profile is None else {"name": profile},
        "tenantRef": None if tenant is None else {"name": tenant},
        "priority": priority,
    }
    build = _builder("TranscriptionJob", name, source, namespace, spec)
    _submit(build, namespace, context, kubeconfig, wait=wait, dry_run=dry_run, debug=debug)


@app.command()
def ocr(
    *,
    source: Source,
    output: Output,
    name: Name = None,
    formats: Formats = [],  # noqa: B006 - typer copies it
    languages: Annotated[
        list[str],
        typer.Option(
            "--language",
            "-l",
            callback=options.comma_separated,
            metavar="TAG,…",
            help="BCP 47 tags, the main one first.",
            show_default="by script",
        ),
    ] = [],  # noqa: B006 - typer copies it
    engine: Annotated[
        Literal["auto", "tesseract", "rapidocr", "paddleocr"] | None,
        typer.Option(help="OCR engine.", show_default="auto"),
    ] = None,
    pages: Annotated[str | None, typer.Option(help="Such as 1-20,25 or 3-.", show_default="all")] = None,
    mode: Annotated[
        Literal["skip", "redo", "force"] | None,
        typer.Option(help="PDF pages that already contain text.", show_default="skip"),
    ] = None,
    document_id: Annotated[str | None, typer.Option(help="Your own identifier of the document.")] = None,
    profile: Profile = None,
    tenant: Tenant = None,
    priority: Priority = None,
    secret: Secret = None,
    source_secret: SourceSecret = None,
    endpoint_url: EndpointURL = None,
    region: Region = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Create an OCRJob."""
    spec: dict[str, Any] = {
        **_source_and_output(source, output, formats, _ClusterAccess(secret, source_secret, endpoint_url, region)),
        "documentID": document_id,
        "languages": languages or None,
        "engine": None if engine is None else _ENGINES[engine],
        "pages": pages,
        "mode": None if mode is None else mode.capitalize(),
        "profileRef": None if profile is None else {"name": profile},
        "tenantRef": None if tenant is None else {"name": tenant},
        "priority": priority,
    }
    build = _builder("OCRJob", name, source, namespace, spec)
    _submit(build, namespace, context, kubeconfig, wait=wait, dry_run=dry_run, debug=debug)


_ENGINES = {"auto": "Auto", "tesseract": "Tesseract", "rapidocr": "RapidOCR", "paddleocr": "PaddleOCR"}
"""OCR engines: name on the command line → value in `spec.engine`."""


@dataclass(frozen=True)
class _ClusterAccess:
    """How the cluster reaches the object stores."""

    secret: str | None
    source_secret: str | None
    endpoint_url: str | None
    region: str | None


def _source_and_output(source: str, output: str, formats: list[str], access: _ClusterAccess) -> dict[str, Any]:
    """Return the fields `source` and `output`; settings that only S3 has are left out of other URIs."""

    def location(uri: str, secret: str | None) -> dict[str, Any]:
        s3 = uri.startswith("s3://")
        return {
            "uri": uri,
            "secretRef": {"name": secret} if secret else None,
            "endpointURL": access.endpoint_url if s3 else None,
            "region": access.region if s3 else None,
        }

    of_s3 = access.secret if source.startswith("s3://") else None
    return {
        "source": location(source, access.source_secret or of_s3),
        "output": {**location(output, access.secret), "formats": formats or None},
    }


def _builder(
    kind: str, name: str | None, source: str, namespace: str | None, spec: dict[str, Any]
) -> Callable[[], list[Manifest]]:
    def build() -> list[Manifest]:
        from steno_client import manifests  # noqa: PLC0415 - loads pydantic

        return [manifests.build_manifest(kind, name or manifests.generate_name(source), namespace, spec)]

    return build


def _submit(
    read: Callable[[], list[Manifest]],
    namespace: str | None,
    context: str | None,
    kubeconfig: Path | None,
    *,
    wait: bool,
    dry_run: bool,
    debug: bool,
) -> None:
    with report_errors(debug=debug):
        from steno_client import manifests  # noqa: PLC0415 - loads pydantic

        found = read()
        if dry_run:
            typer.echo(manifests.to_yaml(found), nl=False)
            return
        from steno_client import kube, lifecycle  # noqa: PLC0415 - loads the Kubernetes client

        created: list[lifecycle.CreatedResource] = []
        for one in lifecycle.create_resources(found, kube.ClusterContext(namespace, context, kubeconfig)):
            typer.echo(one.resource.display_name)
            created.append(one)
        failures: list[CommandError] = []
        for one in created if wait else ():
            try:
                print_until_finished(one.cluster, one.resource)
            except CommandError as error:
                failures.append(error)
        if failures:
            raise CommandError("; ".join(str(one) for one in failures), failures[0].exit_code)
