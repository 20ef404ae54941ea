"""`steno key`: API keys of the gateway, or of `steno serve` in a file: create, list, revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from steno_client import options
from steno_client.errors import EXIT_CANNOT_WRITE, EXIT_INPUT, EXIT_NOT_FOUND, CommandError, report_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steno_client.kube import Cluster

app = typer.Typer(help="API keys of the gateway or of steno serve: create, list, revoke.", no_args_is_help=True)

_GATEWAY_NAMESPACE = "steno-system"
_LIMITS = "Limits"

GatewayNamespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Where the gateway runs.", rich_help_panel="Cluster")
]
KeySecret = Annotated[
    str, typer.Option("--secret", help="Secret with the keys' records.", rich_help_panel="Cluster", show_default=True)
]
_SECRET = "steno-api-keys"  # noqa: S105 - the name of a Secret
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="PATH", help="File or directory of steno serve with the records, instead of a cluster's."
    ),
]
_LOCAL = "local"
"""Tenant of keys in a file, unless it is named; and their namespace, of which there is none."""


class _Keys(Protocol):
    """Where records of keys are."""

    name: str

    def read(self) -> dict[str, bytes]: ...

    def change(self, entries: Mapping[str, str | None]) -> None: ...


class _KeySecret:
    """A Secret of the gateway."""

    def __init__(self, cluster: Cluster, secret: str, namespace: str) -> None:
        self._cluster, self._secret, self.name = cluster, secret, f"{namespace}/{secret}"

    def read(self) -> dict[str, bytes]:
        return {name: value.encode() for name, value in self._cluster.read_secret_if_any(self._secret).items()}

    def change(self, entries: Mapping[str, str | None]) -> None:
        self._cluster.write_secret(self._secret, entries, "steno.dev/api-keys")


class _KeyFile:
    """A file or directory of a server without a cluster."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, str(path)

    def read(self) -> dict[str, bytes]:
        from steno_api.gateway.key_files import KeyFileError, read_entries  # noqa: PLC0415 - pydantic takes a while

        try:
            return read_entries(self._path) if self._path.exists() else {}
        except KeyFileError as error:
            raise CommandError(str(error), EXIT_INPUT) from error

    def change(self, entries: Mapping[str, str | None]) -> None:
        from steno_api.gateway.key_files import KeyFileError, change_entries  # noqa: PLC0415 - pydantic takes a while

        try:
            change_entries(self._path, entries)
        except KeyFileError as error:
            raise CommandError(str(error), EXIT_CANNOT_WRITE) from error


@app.command()
def create(
    *,
    tenant: Annotated[
        str | None, typer.Option(help="Tenant whose limits count.", show_default="with --file: local")
    ] = None,
    work_namespace: Annotated[
        str | None,
        typer.Option(
            "--for-namespace", help="Where its jobs and sessions are created.", show_default="the Tenant's only one"
        ),
    ] = None,
    scopes: Annotated[
        list[str],
        typer.Option(
            callback=options.comma_separated,
            metavar="SCOPE,…",
            help="What it is for: stt (recordings), ocr (documents), stream (live sessions).",
        ),
    ] = ["stt", "ocr", "stream"],  # noqa: B006 - typer copies it
    description: Annotated[str, typer.Option(help="Who uses it.")] = "",
    days: Annotated[int | None, typer.Option(min=1, help="Until it expires.", show_default="never")] = None,
    webhooks: Annotated[
        bool, typer.Option("--webhooks", help="Its jobs may have webhooks: the secret that signs them is printed, too.")
    ] = False,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, rich_help_panel=_LIMITS)] = None,
    concurrent_requests: Annotated[int | None, typer.Option(min=1, rich_help_panel=_LIMITS)] = None,
    file: KeyFile = None,
    secret: KeySecret = _SECRET,
    namespace: GatewayNamespace = _GATEWAY_NAMESPACE,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Make an API key and print it. It is shown this once: only a digest of it is stored."""
    if file is None and tenant is None:
        raise typer.BadParameter("--tenant is missing")
    if file is not None and (requests_per_minute or concurrent_requests or work_namespace or webhooks):
        raise typer.BadParameter("steno serve has no namespaces, limits of single keys or webhooks: leave them out")
    with report_errors(debug=debug):
        import pydantic  # noqa: PLC0415 - loaded with the Kubernetes client

        from steno_api.gateway.api_keys import ApiKeyLimits, Scope, new_api_key  # noqa: PLC0415

        unknown = [scope for scope in scopes if scope not in list(Scope)]
        if unknown:
            raise CommandError(f"no such scope: {', '.join(unknown)}: choose from stt, ocr, stream", EXIT_INPUT)
        tenant = tenant or _LOCAL
        keys: _Keys
        if file is not None:
            keys, where = _KeyFile(file), _LOCAL
        else:
            cluster = _cluster(namespace, context, kubeconfig)
            keys, where = _KeySecret(cluster, secret, namespace), work_namespace or _only_namespace(cluster, tenant)
        now = datetime.now(UTC)
        try:
            made = new_api_key(
                tenant=tenant,
                namespace=where,
                scopes=frozenset(map(Scope, scopes)),
                created=now,
                expires=None if days is None else now + timedelta(days=days),
                description=description,
                limits=ApiKeyLimits(requests_per_minute=requests_per_minute, concurrent_requests=concurrent_requests),
                webhooks=webhooks,
            )
        except pydantic.ValidationError as error:
            fields = ", ".join(sorted({str(fault["loc"][0]) for fault in error.errors(include_input=False)}))
            raise CommandError(f"not a legal value: {fields}", EXIT_INPUT) from error
        keys.change({made.record.id: made.record.to_json()})
    typer.echo(made.key)
    if made.record.webhook_secret is not None:
        typer.echo(made.record.webhook_secret)
    expiry = f"until {made.record.expires:%Y-%m-%d}" if made.record.expires else "until it is revoked"
    what = (
        f"creates {', '.join(sorted(scopes))} work in {where}"
        if file is None
        else f"is for {', '.join(sorted(scopes))}"
    )
    typer.echo(f"key {made.record.id} of tenant {tenant} {what}, {expiry}", err=True)


@app.command("list")
def list_keys(
    *,
    file: KeyFile = None,
    secret: KeySecret = _SECRET,
    namespace: GatewayNamespace = _GATEWAY_NAMESPACE,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """List the API keys, without what they are."""
    with report_errors(debug=debug):
        from steno_api.gateway.api_keys import read_records  # noqa: PLC0415 - pydantic takes a while
        from steno_client import formatting  # noqa: PLC0415 - likewise

        keys = _keys(file, secret, namespace, context, kubeconfig)
        records, damaged = read_records(keys.read())
        rows = [("ID", "TENANT", "NAMESPACE", "SCOPES", "CREATED", "EXPIRES", "DESCRIPTION")]
        for record in sorted(records.values(), key=lambda each: each.created):
            expires = f"{record.expires:%Y-%m-%d}" if record.expires else "never"
            scopes = ",".join(sorted(record.scopes))
            created = f"{record.created:%Y-%m-%d}"
            rows.append((record.id, record.tenant, record.namespace, scopes, created, expires, record.description))
        typer.echo("\n".join(formatting.align_columns(rows)) if records else "there are no API keys")
        if damaged:
            typer.echo(f"not readable, and not valid: {', '.join(damaged)}", err=True)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's ID, as `steno key list` shows it.")],
    *,
    file: KeyFile = None,
    secret: KeySecret = _SECRET,
    namespace: GatewayNamespace = _GATEWAY_NAMESPACE,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Revoke an API key: it is void within seconds."""
    with report_errors(debug=debug):
        from steno_api.gateway.api_keys import api_key_id  # noqa: PLC0415 - pydantic takes a while

        keys = _keys(file, secret, namespace, context, kubeconfig)
        found = api_key_id(key_id) or key_id  # the whole key does as well: that is what someone has who found it
        if found not in keys.read():
            raise CommandError(f"there is no API key {found} in {keys.name}: see steno key list", EXIT_NOT_FOUND)
        keys.change({found: None})
        typer.echo(f"key {found} is revoked")


def _cluster(namespace: str, context: str | None, kubeconfig: Path | None) -> Cluster:
    from steno_client import kube  # noqa: PLC0415 - it loads the Kubernetes client

    return kube.Cluster(kube.ClusterContext(namespace, context, kubeconfig))


def _keys(file: Path | None, secret: str, namespace: str, context: str | None, kubeconfig: Path | None) -> _Keys:
    """Return the keys that the options name.

    Args:
        file: of `steno serve`; None: those of a gateway.
        secret: with the gateway's.
        namespace: where the gateway runs.
        context: of the kubeconfig.
        kubeconfig: how the cluster is reached.
    """
    if file is not None:
        return _KeyFile(file)
    return _KeySecret(_cluster(namespace, context, kubeconfig), secret, namespace)


def _only_namespace(cluster: Cluster, tenant: str) -> str:
    """Return the namespace of a Tenant that has one.

    Raises:
        CommandError: there is no such Tenant, or it has several.
    """
    from steno_api.v1alpha1.tenant import Tenant  # noqa: PLC0415 - pydantic takes a while

    raw = cluster.get_cluster_resource(Tenant.definition, tenant)
    if raw is None:
        raise CommandError(f"there is no Tenant {tenant}: create it, or give --for-namespace", EXIT_NOT_FOUND)
    namespaces = Tenant.from_wire(raw).spec.namespaces
    if len(namespaces) > 1:
        raise CommandError(f"the Tenant has {', '.join(namespaces)}: choose one with --for-namespace", EXIT_INPUT)
    return namespaces[0]
