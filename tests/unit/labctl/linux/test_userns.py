from __future__ import annotations

from pathlib import Path

import pytest

from labctl.linux import userns


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("kernel/unprivileged_userns_clone", "0\n", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0\n", "user.max_user_namespaces="),
        ("kernel/apparmor_restrict_unprivileged_userns", "1\n", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("user/max_user_namespaces", "96365\n", None),
    ],
)
def test_the_setting_that_forbids_user_namespaces_is_named(
    tmp_path: Path, setting: str, value: str, said: str | None
) -> None:
    (tmp_path / setting).parent.mkdir()
    (tmp_path / setting).write_text(value)
    told = userns.why_forbidden(tmp_path)
    assert (told is None) if said is None else (told is not None and said in told)
