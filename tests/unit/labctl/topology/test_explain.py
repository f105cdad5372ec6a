"""pydantic's rarer findings in plain words."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from labctl.model.resource import Spec
from labctl.topology.explain import explain


class Inner(Spec):
    size: int


class Sample(Spec):
    names: tuple[str, ...] = Field(default=("x",), min_length=1, max_length=2)
    code: Annotated[str, Field(pattern="^[a-z]+$", min_length=2, max_length=3)] = "ab"
    either: int | str = 1
    disk: str | Inner = "none"
    step: int = Field(default=2, multiple_of=2, gt=0, lt=9)
    table: dict[str, Inner] = Field(default_factory=dict)
    path: Annotated[bytes, Field()] = b""


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"names": []}, "names: needs at least 1 of them"),
        ({"names": ["a", "b", "c"]}, "names: may have at most 2 of them"),
        ({"code": "A1"}, 'code: the string "A1" does not match ^[a-z]+$'),
        ({"code": "a"}, "code: needs at least 2 characters"),
        ({"code": "abcd"}, "code: may have at most 3 characters"),
        ({"either": []}, "either: must be a whole number or a string, not a list"),
        ({"disk": {"size": "x"}}, 'disk.size: must be a whole number, not the string "x"'),
        ({"disk": {"sise": 1, "size": 1}}, 'unknown key "sise"'),
        ({"disk": {}}, '"size" is missing'),
        ({"step": 3}, "step: must be a multiple of 2, not 3"),
        ({"step": 0}, "step: must be more than 0, not 0"),
        ({"step": 10}, "step: must be less than 9, not 10"),
        ({"table": {"a": {"size": 1.5}}}, "table.a.size: must be a whole number, not 1.5"),
        ({"path": 7}, "path: input should be a valid bytes"),
    ],
)
def test_each_finding_is_one_problem_in_plain_words(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate(raw)
    assert [problem.message for problem in explain(caught.value, ("sample", "a"), raw, Sample)] == [message]
