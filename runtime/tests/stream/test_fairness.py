from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stream.fairness import FairQueue


@dataclass(frozen=True)
class Work:
    tenant: str
    session: str
    cost: int = 1


def test_tenants_share_equally_however_many_sessions_they_have():
    fair_queue = FairQueue()
    waiting = [Work("big", f"s{index}") for index in range(20)] + [Work("small", "x")] * 5
    first = list(fair_queue.order(waiting))[:10]
    assert Counter(work.tenant for work in first) == {"big": 5, "small": 5}


def test_sessions_of_a_tenant_share_equally():
    fair_queue = FairQueue()
    waiting = [Work("t", "greedy")] * 10 + [Work("t", "modest")] * 3
    first = list(fair_queue.order(waiting))[:6]
    assert Counter(work.session for work in first) == {"greedy": 3, "modest": 3}


def test_an_idle_session_saves_up_no_credit():
    fair_queue = FairQueue()
    for _ in range(100):
        fair_queue.join("old", "a")
        fair_queue.account(Work("old", "a"))
    fair_queue.join("new", "b")
    waiting = [Work("old", "a")] * 10 + [Work("new", "b")] * 10
    first = list(fair_queue.order(waiting))[:10]
    assert abs(Counter(work.tenant for work in first)["new"] - 5) <= 1


def test_a_removed_session_leaves_nothing_behind():
    fair_queue = FairQueue()
    for index in range(100):
        fair_queue.join("t", f"s{index}")
        fair_queue.account(Work("t", f"s{index}"))
        fair_queue.remove("t", f"s{index}")
    assert not fair_queue._tenants
    assert not fair_queue._sessions
    assert not fair_queue._session_now


works = st.builds(Work, st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(1, 5))


@given(st.lists(works))
def test_the_order_loses_nothing_and_keeps_each_sessions_own(waiting):
    order = list(FairQueue().order(waiting))
    assert Counter(order) == Counter(waiting)
    for tenant in "ab":
        for session in "xyz":
            own = [work for work in waiting if (work.tenant, work.session) == (tenant, session)]
            assert [work for work in order if (work.tenant, work.session) == (tenant, session)] == own
