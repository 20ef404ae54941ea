"""`steno status`, `steno tail` and `steno results`: the jobs and sessions of a cluster."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steno_client import options
from steno_client.errors import EXIT_FAILED, EXIT_INPUT, CommandError, report_errors

if TYPE_CHECKING:
    from steno_client.kube import Cluster
    from steno_client.resource import ResourceView

app = typer.Typer()
_STORE = "Object store"


@app.command()
def status(
    resource: Annotated[
        str | None,
        typer.Argument(metavar="RESOURCE", help="NAME or KIND/NAME, such as standup or tj/standup; all if left out."),
    ] = None,
    *,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="List all namespaces.")] = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Show the progress of jobs and sessions, and what they wait for."""
    if resource and all_namespaces:
        raise typer.BadParameter("give NAME or --all-namespaces, not both")
    with report_errors(debug=debug):
        from steno_client import formatting, kube, lookup  # noqa: PLC0415 - they load the Kubernetes client

        cluster = kube.Cluster(kube.ClusterContext(namespace, context, kubeconfig))
        if resource:
            lines = formatting.format_details(lookup.find_resource(cluster, resource), datetime.now(UTC))
        elif found := lookup.list_all(cluster, all_namespaces=all_namespaces):
            lines = formatting.format_table(found, datetime.now(UTC), namespaces=all_namespaces)
        else:
            scope = "any namespace" if all_namespaces else f"the namespace {cluster.namespace}"
            typer.echo(f"there are no jobs or sessions in {scope}: see `steno submit --help` to create one", err=True)
            return
        typer.echo("\n".join(lines))


@app.command()
def tail(
    resource: options.Resource,
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Follow a job or session until it has finished: exit code 0 if it succeeded, 1 if it failed."""
    with report_errors(debug=debug):
        from steno_client import kube, lookup  # noqa: PLC0415 - they load the Kubernetes client

        cluster = kube.Cluster(kube.ClusterContext(namespace, context, kubeconfig))
        print_until_finished(cluster, lookup.find_resource(cluster, resource))


def print_until_finished(cluster: Cluster, resource: ResourceView) -> None:
    """Print the progress of a resource until it has finished, then its summary.

    Raises:
        CommandError: it failed (exit code 1), was deleted, or the cluster does not answer.
    """
    from steno_client import formatting, lifecycle, terminal  # noqa: PLC0415 - they load the Kubernetes client

    with terminal.StatusLine(sys.stdout) as line:
        finished = lifecycle.wait_until_finished(
            cluster, resource, lambda one: line.update(formatting.progress_line(one)), line.update
        )
    if not finished.succeeded:
        raise CommandError(formatting.end_line(finished), EXIT_FAILED)
    typer.echo(formatting.end_line(finished))
    for warning in finished.status.warnings:
        typer.echo(formatting.format_warning(warning), err=True)


@app.command()
def results(
    resource: options.Resource,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory to write to; - prints one format.", show_default="NAME"
        ),
    ] = None,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            callback=options.comma_separated,
            metavar="FORMAT,…",
            help="Formats to download.",
            show_default="all; with -o -: txt",
        ),
    ] = [],  # noqa: B006 - typer copies it
    from_secret: Annotated[
        bool,
        typer.Option(
            "--from-secret",
            help="Use the Secret of spec.output.secretRef, read with your kubeconfig.",
            rich_help_panel=_STORE,
        ),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            envvar="AWS_PROFILE",
            help="Profile of ~/.aws/credentials, used if the environment has no key.",
            rich_help_panel=_STORE,
        ),
    ] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            envvar=["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
            help="URL of the S3 server as reached from this machine.",
            show_default="spec.output.endpointURL",
            rich_help_panel=_STORE,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="S3 region.", rich_help_panel=_STORE),
    ] = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Download the results of a job or session, and verify their digests.

    S3 credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else --profile, or from --from-secret.
    """  # fmt: skip
    if output == "-" and len(formats) > 1:
        raise typer.BadParameter(f"{len(formats)} formats need a directory: give --output DIR")
    with report_errors(debug=debug):
        from steno_client import download, kube, lookup, output_files  # noqa: PLC0415 - they load the Kubernetes client

        cluster = kube.Cluster(kube.ClusterContext(namespace, context, kubeconfig))
        found = lookup.find_resource(cluster, resource)
        artifacts = download.select_artifacts(found, formats or (["txt"] if output == "-" else []))
        access = download.StoreAccess(endpoint_url, region, profile, from_secret=from_secret)
        store = download.ArtifactStore(cluster, found, access)
        if output != "-":
            for path in store.download_all(artifacts, output_files.make_directory(output or found.name)):
                typer.echo(path)
            return
        (artifact,) = artifacts
        if artifact.format == "pdf" and sys.stdout.isatty():
            raise CommandError("a PDF cannot be shown in a terminal: give --output DIR, or redirect it", EXIT_INPUT)
        with tempfile.TemporaryDirectory(prefix="steno-") as scratch:
            file = Path(scratch) / artifact.format
            store.download(artifact, file)
            output_files.copy_to_stdout(file)
