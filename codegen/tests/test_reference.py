"""The API reference: every value is documented, and the committed page is the generated one."""

from __future__ import annotations

from typing import Any

import pytest

from hack.paths import ROOT
from steno_api.failures import FailureClass, FailureReason
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_codegen import reference
from steno_codegen.generate import differences


@pytest.mark.parametrize("enum", [ConditionType, Reason, FailureReason, FailureClass])
def test_every_value_of_a_status_is_documented(enum: Any) -> None:
    assert set(reference.member_docs(enum)) == {member.value for member in enum}


def test_the_committed_reference_is_what_the_models_say() -> None:
    assert differences(ROOT / reference.FOLDER, {reference.FILE: reference.text()}) == "", "run `make generate`"
