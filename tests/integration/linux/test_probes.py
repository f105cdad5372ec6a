"""The facts for doctor, as root and as an ordinary user."""

from __future__ import annotations

import json
import sys

import pytest

from labctl.linux import probes
from labctl.testing.users import OrdinaryUser


@pytest.mark.needs("root")
def test_facts_are_found_by_trying_and_lacks_have_a_mend() -> None:
    facts = {fact.name: fact for fact in probes.facts()}
    assert facts["rights"].detail == "root"
    assert facts["link kind veth"].ok
    assert facts["link kind bridge"].ok
    assert all(fact.mend for fact in facts.values() if not fact.ok)
    assert not any(fact.mend for fact in facts.values() if fact.ok)


@pytest.mark.needs("userns")
def test_an_ordinary_user_gets_the_same_facts_through_a_user_namespace(ordinary_user: OrdinaryUser) -> None:
    code = (
        "import json; from labctl.linux import probes;"
        "print(json.dumps({fact.name: [fact.ok, fact.detail, fact.mend] for fact in probes.facts()}))"
    )
    facts = json.loads(ordinary_user.run([sys.executable, "-c", code]).stdout)
    assert facts["rights"][0]
    assert facts["link kind veth"][0], facts["link kind veth"]
    assert all(mend for ok, _detail, mend in facts.values() if not ok)
