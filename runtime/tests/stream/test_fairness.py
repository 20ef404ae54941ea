from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.stream.fairness import Shares


@dataclass(frozen=True)
class Work:
    tenant: str
    session: str
    cost: int = 1


def test_tenants_share_alike_however_many_sessions_they_have():
    shares = Shares()
    waiting = [Work("big", f"s{index}") for index in range(20)] + [Work("small", "x")] * 5
    first = list(shares.order(waiting))[:10]
    assert Counter(work.tenant for work in first) == {"big": 5, "small": 5}


def test_sessions_of_a_tenant_share_alike():
    shares = Shares()
    waiting = [Work("t", "greedy")] * 10 + [Work("t", "modest")] * 3
    first = list(shares.order(waiting))[:6]
    assert Counter(work.session for work in first) == {"greedy": 3, "modest": 3}


def test_a_newcomer_is_not_given_what_others_had_while_it_was_away():
    shares = Shares()
    for _ in range(100):
        shares.join("old", "a")
        shares.charge(Work("old", "a"))
    shares.join("new", "b")
    waiting = [Work("old", "a")] * 10 + [Work("new", "b")] * 10
    first = list(shares.order(waiting))[:10]
    assert abs(Counter(work.tenant for work in first)["new"] - 5) <= 1


def test_what_is_over_is_forgotten():
    shares = Shares()
    for index in range(100):
        shares.join("t", f"s{index}")
        shares.charge(Work("t", f"s{index}"))
        shares.forget("t", f"s{index}")
    assert not shares._tenants
    assert not shares._sessions
    assert not shares._session_now


works = st.builds(Work, st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(1, 5))


@given(st.lists(works))
def test_the_order_loses_nothing_and_keeps_each_sessions_own(waiting):
    order = list(Shares().order(waiting))
    assert Counter(order) == Counter(waiting)
    for tenant in "ab":
        for session in "xyz":
            mine = [work for work in waiting if (work.tenant, work.session) == (tenant, session)]
            assert [work for work in order if (work.tenant, work.session) == (tenant, session)] == mine
