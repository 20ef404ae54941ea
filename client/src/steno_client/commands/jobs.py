"""`steno status`, `steno tail` and `steno results`: of what a cluster works on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from steno_client import options
from steno_client.errors import reported

app = typer.Typer()
_ACCESS = "Object store"


@app.command()
def status(
    resource: Annotated[
        str | None,
        typer.Argument(metavar="RESOURCE", help="NAME or KIND/NAME, such as standup or tj/standup; without it, all."),
    ] = None,
    *,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Show how far jobs and sessions are, and why they wait."""
    if resource and everywhere:
        raise typer.BadParameter("give NAME or --all-namespaces, not both")
    with reported(debug=debug):
        from steno_client import kinds, kube, show  # noqa: PLC0415 - they load the Kubernetes client

        cluster = kube.Cluster(kube.Where(namespace, context, kubeconfig))
        if resource:
            lines = show.details(kinds.find(cluster, resource), datetime.now(UTC))
        elif found := kinds.everything(cluster, everywhere=everywhere):
            lines = show.table(found, datetime.now(UTC), namespaces=everywhere)
        else:
            place = "any namespace" if everywhere else f"the namespace {cluster.namespace}"
            typer.echo(f"nothing in {place}: `steno submit --help` says how to begin", err=True)
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
    """Follow a job or session until it ended: exit code 0 if it succeeded, 1 if it failed."""
    with reported(debug=debug):
        from steno_client import follow, kinds, kube  # noqa: PLC0415 - they load the Kubernetes client

        cluster = kube.Cluster(kube.Where(namespace, context, kubeconfig))
        follow.tail(cluster, kinds.find(cluster, resource))


@app.command()
def results(
    resource: options.Resource,
    *,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where to; - prints one format.", show_default="NAME"),
    ] = None,
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            "-f",
            callback=options.comma_separated,
            metavar="FORMAT,…",
            help="Which of those published.",
            show_default="all; with -o -: txt",
        ),
    ] = [],  # noqa: B006 - typer copies it
    from_secret: Annotated[
        bool,
        typer.Option(
            "--from-secret",
            help="Use the Secret of spec.output.secretRef, read with your kubeconfig.",
            rich_help_panel=_ACCESS,
        ),
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option(
            envvar="AWS_PROFILE",
            help="Profile of ~/.aws/credentials, where the environment has no key.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            envvar=["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
            help="S3 server as this machine reaches it.",
            show_default="spec.output.endpointURL",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="S3 region.", rich_help_panel=_ACCESS),
    ] = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Fetch what a job or session published, and check its digests.

    S3 credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else --profile, or from --from-secret.
    """  # fmt: skip
    if output == "-" and len(formats) > 1:
        raise typer.BadParameter(f"{len(formats)} formats need a directory: give --output DIR")
    with reported(debug=debug):
        from steno_client import fetch, kinds, kube  # noqa: PLC0415 - they load the Kubernetes client

        cluster = kube.Cluster(kube.Where(namespace, context, kubeconfig))
        access = fetch.Access(endpoint_url, region, profile, from_secret=from_secret)
        fetch.results(cluster, kinds.find(cluster, resource), formats, output, access)
