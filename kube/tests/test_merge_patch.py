from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from steno_operator.control.reconcile.executor import merge_patch
from steno_operator.plan.common.finish import unreadable_status

names = st.sampled_from("abc")
values = st.recursive(
    st.integers(0, 2) | st.text("xy", max_size=2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(names, values, max_size=3)


def apply(target, patch):
    """RFC 7386, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result


@given(current=objects, wanted=objects)
def test_the_patch_leads_where_it_should(current, wanted):
    assert apply(current, merge_patch(current, wanted)) == wanted


@given(status=objects)
def test_what_is_equal_needs_no_patch(status):
    assert merge_patch(status, status) == {}


def test_a_field_that_vanished_becomes_null():
    assert merge_patch({"queue": {"reason": "x"}, "phase": "Waiting"}, {"phase": "Running"}) == {
        "queue": None,
        "phase": "Running",
    }
    assert merge_patch({"progress": {"percent": 1, "etaSeconds": 5}}, {"progress": {"percent": 1}}) == {
        "progress": {"etaSeconds": None}
    }


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)


def test_an_unreadable_resource_stalls_and_is_not_written_twice():
    raw = {"metadata": {"generation": 3}, "status": {"attempt": 1}}
    status = unreadable_status(raw, "spec.source: Field required", NOW)
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    assert conditions["Stalled"]["status"] == "True"
    assert conditions["Stalled"]["reason"] == "InvalidSpec"
    assert "spec.source: Field required" in conditions["Ready"]["message"]
    assert status["attempt"] == 1
    assert unreadable_status({**raw, "status": status}, "spec.source: Field required", LATER) == status


def test_an_unreadable_resource_that_ended_stays_as_it_is():
    status = {"completionTime": "2026-01-01T00:00:00Z", "phase": "Succeeded"}
    assert unreadable_status({"metadata": {}, "status": status}, "anything", NOW) == status
