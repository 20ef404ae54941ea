"""Fixtures of the e2e tests: the cluster of `make e2e`, its store filled with the inputs, a namespace per test."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import pytest
from kubernetes import client

from tests.e2e import media
from tests.e2e.kube import RESULTS, SECRET, SOURCES, Kube, Store, cluster_name

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a measured figure at the end of the run, whether the test passes or not."""
    return lambda text: request.node.user_properties.append(("figure", text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    figures = [
        text for report in reports if report.when == "call" for name, text in report.user_properties if name == "figure"
    ]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write("".join(f"{text}\n" for text in figures))


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The S3 server with every input in its bucket."""
    about = Kube(cluster_name(), "default").info
    found = Store(about.s3_endpoint, about.s3_access_key, about.s3_secret_key, about.s3_endpoint_in_cluster)
    s3 = found.client()
    for bucket in (SOURCES, RESULTS):
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
            s3.create_bucket(Bucket=bucket)
    folder = tmp_path_factory.mktemp("media")
    for key, file in media.make(folder).items():
        found.put(key, file)
    shutil.rmtree(folder)
    return found


@pytest.fixture
def kube(store: Store, request: pytest.FixtureRequest) -> Generator[Kube]:
    """A namespace of its own with the store's credentials; deleted afterwards."""
    del request
    kube = Kube(cluster_name(), f"e2e-{os.getpid()}-{next(_numbers)}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.core.create_namespace({"metadata": {"name": kube.namespace, "labels": labels}})
    kube.core.create_namespaced_secret(kube.namespace, store.secret(SECRET))
    yield kube
    kube.core.delete_namespace(kube.namespace, body=client.V1DeleteOptions(propagation_policy="Background"))
