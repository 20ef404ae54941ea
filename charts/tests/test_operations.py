"""What docs/operations.md tells administrators to paste does what it says there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from lupa import LuaRuntime

from hack.paths import ROOT
from steno_api.v1alpha1 import RuntimePool

TEXT = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = [
    document for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) for document in yaml.safe_load_all(block)
]


def condition(kind: str, status: str, message: str = "m") -> dict[str, str]:
    return {"type": kind, "status": status, "message": message}


def lua_of(value: Any, lua: LuaRuntime) -> Any:
    """What Argo CD makes of a resource: tables, lists from 1."""
    match value:
        case dict():
            return lua.table_from({key: lua_of(item, lua) for key, item in value.items()})
        case list():
            return lua.table_from([lua_of(item, lua) for item in value])
    return value


@pytest.fixture
def health():
    customizations = next(document["data"]["resource.customizations"] for document in BLOCKS if "data" in document)
    script = yaml.safe_load(customizations)["steno.dev/*"]["health.lua"]
    lua = LuaRuntime()

    def assess(resource: dict[str, Any]) -> tuple[str, str]:
        lua.globals().obj = lua_of(resource, lua)
        health = lua.execute(script)
        return health["status"], health["message"]

    return assess


@pytest.mark.parametrize(
    ("conditions", "status", "message"),
    [
        (None, "Progressing", ""),
        ([condition("Ready", "False", "chunk 1"), condition("Reconciling", "True")], "Progressing", "chunk 1"),
        ([condition("Ready", "True", "done"), condition("Complete", "True")], "Healthy", "done"),
        ([condition("Stalled", "True", "not found"), condition("Failed", "True")], "Degraded", "not found"),
        ([condition("Ready", "False"), condition("Suspended", "True", "asked for")], "Suspended", "asked for"),
        ([condition("Stalled", "False"), condition("Suspended", "False")], "Progressing", ""),
    ],
)
def test_argo_cd_sees_the_health(health, conditions, status, message):
    resource = {"kind": "TranscriptionJob", "status": {"conditions": conditions} if conditions else {}}
    assert health(resource) == (status, message)


def test_a_profile_is_healthy(health):
    assert health({"kind": "RuntimeProfile"})[0] == "Healthy"


def test_the_pool_behind_an_ingress_is_one():
    pool, ingress = (next(one for one in BLOCKS if one.get("kind") == kind) for kind in ("RuntimePool", "Ingress"))
    endpoints = RuntimePool.model_validate(pool).spec.endpoints
    assert endpoints.websocket_url == f"wss://{ingress['spec']['rules'][0]['host']}"
    paths = ingress["spec"]["rules"][0]["http"]["paths"]
    assert {path["path"] for path in paths} == {"/stt", "/ocr", "/status"}
    assert {path["backend"]["service"]["name"] for path in paths} == {f"{pool['metadata']['name']}-pool"}


def test_the_metrics_worth_an_alert_exist():
    sources = "".join(
        path.read_text()
        for package in ("kube", "operator", "gateway", "runtime")
        for path in (ROOT / package / "src").rglob("*.py")
    )
    named = set(re.findall(r"\bsteno_[a-z_]+", TEXT))
    assert named
    assert {name for name in named if f'"{name.removesuffix("_total")}"' not in sources} == set()
