"""The report endpoint over TLS (M8): the operator's own CA, a certificate of others, and the runtime's client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509

from steno_api.tls import HANDSHAKE_SECONDS, CertificateError
from steno_api.worker.report import REPORT_PATH, Report
from steno_api.worker.task import TaskReporting
from steno_operator import app
from steno_operator.control.reports import certificate
from steno_operator.control.reports.certificate import CA_LIFETIME, LIFETIME, ReportAuthority, mounted
from steno_runtime.operator_client import OperatorClient
from tests.support.certificates import Authority, mount

from .harness import free_port, until

HOST = "127.0.0.1"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def start(harness: Any, **settings: Any) -> Any:
    port = free_port()
    return harness.start(report_url=f"https://{HOST}:{port}", report_port=port, **settings)


def reporting_of(job: Any) -> dict[str, Any]:
    """Return what the worker of a child Job is told about reports."""
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return json.loads(args[args.index("--task") + 1])["reporting"]


def posts(harness: Any, pod: Any, reporting: dict[str, Any], folder: Path, **progress: Any) -> bool:
    """Report as the worker of a pod does; return whether the operator took it."""
    (folder / "token").write_text(harness.token(pod))
    told = TaskReporting.model_validate({**reporting, "tokenFile": str(folder / "token")})
    client = OperatorClient(told, REPORT_PATH)
    try:
        return client.post(Report.model_validate(harness.progress(**progress)))
    finally:
        client.close()


@pytest.mark.apiserver
def test_m8_workers_verify_the_operator_with_its_own_ca(harness, tmp_path: Path):
    first = start(harness, report_ca_secret="report-ca")
    harness.apply()
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    reporting = reporting_of(harness.children()[0])
    assert reporting["url"] == f"https://{HOST}:{first.report_port}"
    assert posts(harness, pod, reporting, tmp_path, percent=42)
    harness.until("progress", lambda: harness.status().get("progress", {}).get("percent") == 42)

    plain = {**reporting, "url": reporting["url"].replace("https:", "http:")}
    impostor = {**reporting, "ca": Authority().pem.decode()}
    system = {key: value for key, value in reporting.items() if key != "ca"}
    for wrong in (plain, impostor, system):
        assert not posts(harness, pod, wrong, tmp_path)

    secret = harness.must("GET", f"/api/v1/namespaces/{harness.namespace}/secrets/report-ca")
    assert base64.b64decode(secret["data"]["tls.crt"]).decode() == reporting["ca"]
    assert base64.b64decode(secret["data"]["tls.key"]).decode() not in first.log.read_text()
    for name, lifetime in (("serving", LIFETIME), ("ca", CA_LIFETIME)):
        expiry = first.metric("steno_report_certificate_expiry_timestamp_seconds", certificate=name)
        assert expiry == pytest.approx(time.time() + lifetime.total_seconds(), abs=600)
    first.stop()
    again = start(harness, report_ca_secret="report-ca")
    until("the lead", again.leads)
    moved = {**reporting, "url": f"https://{HOST}:{again.report_port}"}
    assert posts(harness, pod, moved, tmp_path, percent=50), "the CA outlives the operator"


@pytest.mark.apiserver
def test_m8_a_certificate_of_others_is_reloaded(harness, tmp_path: Path):
    authority, folder = Authority(), tmp_path / "tls"
    authority.write(folder, HOST)
    replica = start(harness, report_tls_dir=str(folder))
    harness.apply()
    pod = harness.run_pod("talk-1")
    harness.wait("Running")
    reporting = reporting_of(harness.children()[0])
    assert reporting["ca"] == authority.pem.decode()
    assert posts(harness, pod, reporting, tmp_path)
    before = ssl.get_server_certificate((HOST, replica.report_port))
    authority.write(folder, HOST)
    until("the new certificate", lambda: ssl.get_server_certificate((HOST, replica.report_port)) != before)
    assert posts(harness, pod, reporting, tmp_path)


@pytest.mark.apiserver
def test_m8_a_secret_that_holds_no_ca_is_named_and_jobs_wait_for_it(harness):
    path = f"/api/v1/namespaces/{harness.namespace}/secrets"
    harness.must("POST", path, {"metadata": {"name": "report-ca"}, "stringData": {"tls.crt": "?"}})
    port = free_port()
    replica = harness.spawn(report_url=f"https://{HOST}:{port}", report_port=port, report_ca_secret="report-ca")
    until("a warning", lambda: "Secret report-ca does not hold the CA" in replica.log.read_text())
    assert replica.get("/healthz")[0] == 200
    assert "the certificate of the report endpoint" in replica.get("/readyz")[1]
    harness.must("DELETE", f"{path}/report-ca")
    until("it is ready", lambda: replica.get("/readyz")[0] == 200)


async def test_m8_a_handshake_has_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert HANDSHAKE_SECONDS <= 10
    monkeypatch.setattr("steno_operator.app.HANDSHAKE_SECONDS", 0.1)
    tls = mounted(Authority().write(tmp_path, HOST))
    async with contextlib.AsyncExitStack() as stack:
        address = await app.listen(stack, web.Application(), (HOST, 0), tls.certificate.context)
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


def test_m8_a_certificate_is_renewed_under_the_same_ca(monkeypatch: pytest.MonkeyPatch):
    class Clock(datetime):
        at = NOW

        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # noqa: ARG003
            return cls.at

    monkeypatch.setattr(certificate, "datetime", Clock)
    renewed = certificate._Renewed(ReportAuthority.generate(NOW), "steno-operator.steno-system.svc")
    first = renewed.current()
    Clock.at = NOW + LIFETIME / 2
    assert renewed.current() == first
    Clock.at = NOW + LIFETIME * 3 / 4
    second = renewed.current()
    assert second != first
    one, two = (x509.load_pem_x509_certificate(pair.chain) for pair in (first, second))
    assert one.issuer == two.issuer
    assert one.not_valid_after_utc - one.not_valid_before_utc > LIFETIME > timedelta(days=30)
    names = two.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["steno-operator.steno-system.svc"]


def test_m8_what_is_mounted_has_to_be_whole(tmp_path: Path):
    authority = Authority()
    chain, key = authority.issue(HOST)
    assert mounted(mount(tmp_path / "public", {"tls.crt": chain, "tls.key": key})).ca is None
    with pytest.raises(CertificateError, match=r"tls\.crt cannot be read"):
        mounted(tmp_path / "missing")
    with pytest.raises(CertificateError, match=r"ca\.crt has no CA certificates"):
        mounted(mount(tmp_path / "ca", {"tls.crt": chain, "tls.key": key, "ca.crt": b"?"}))
