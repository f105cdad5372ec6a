import os

import pytest

from labctl.testing import needs


def test_a_missing_program_is_named_with_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    needs.missing.cache_clear()
    try:
        assert (
            needs.missing("libiscsi") == "needs libiscsi: no iscsi-ls on the PATH (mend: apt-get install libiscsi-bin)"
        )
        assert needs.missing("tshark") == "needs tshark: no tshark on the PATH (mend: apt-get install tshark)"
    finally:
        needs.missing.cache_clear()


def test_a_command_that_fails_is_shown_with_its_last_words() -> None:
    wanted = needs.command("probe", ["sh", "-c", "echo first >&2; echo why >&2; exit 3"], "nothing")
    assert wanted.probe() == "`sh -c echo first >&2; echo why >&2; exit 3` ended with 3: why"


def test_a_probe_that_hangs_is_ended_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "PROBE_DEADLINE", 0.05)
    reason = needs.command("probe", ["sleep", "60"], "nothing").probe()
    assert reason is not None
    assert "did not end within" in reason


def test_a_need_of_ones_own_is_known_after_registering() -> None:
    needs.register(needs.Need(name="unit-test", probe=lambda: "never", mend="none"))
    try:
        assert needs.missing("unit-test") == "needs unit-test: never (mend: none)"
    finally:
        needs._needs.pop("unit-test")


@pytest.mark.needs("root")
def test_root_is_met_exactly_where_the_user_id_is_zero() -> None:
    assert os.geteuid() == 0
    assert needs.missing("root") is None
