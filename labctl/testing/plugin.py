"""The pytest plugin: the `needs` marker, the leak check after every test, and the fixtures that go with them.

- `@pytest.mark.needs("root", "qemu")` skips a test where the machine lacks something, and says what and how to get it. Under CI=true a
  skip is a failure, except for needs that the ini option `may_lack` excuses, one `name: reason` a line.
- Every test has a token (`unique`). What carries it after the test is a leak and fails the test (`labctl.testing.leaks`). Fixtures of a
  wider scope are set up before the token exists, so what they start is theirs to clean up; `watched` gives them the same check.
- With LABCTL_TEST_ALONE=1 the whole run is compared too: the machine must be as it was before the first test.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labctl.testing import leaks, needs
from labctl.testing.devices import lent_tun
from labctl.testing.users import OrdinaryUser
from labctl.testing.users import ordinary_user as as_ordinary_user

if TYPE_CHECKING:
    from labctl.testing.traffic import Traffic

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
TOKEN_LETTERS = 6  # 30 bits; short, since names of links end at 15 characters
WHOLE_MACHINE = "machine"  # tests of this xdist group run one after the other
SPAWNING = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec"}

_STATE = pytest.StashKey[frozenset[leaks.Leak]]()
_spawned = False


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    global _spawned
    if event in SPAWNING:
        _spawned = True


sys.addaudithook(_audit)


def new_token() -> str:
    """A short name that nothing else on the machine has; fit for labs, links and paths."""
    return "t" + "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_LETTERS))


@contextlib.contextmanager
def watched(token: str, *folders: Path) -> Iterator[str]:
    """Mark what is started while the context lasts with a token, and fail at its end when something of that is left.

    Args:
        token: from `new_token`.
        folders: where no unix socket may be left.

    Raises:
        AssertionError: names what was left.
    """
    before = os.environ.get(leaks.TOKEN_VARIABLE)
    os.environ[leaks.TOKEN_VARIABLE] = token
    try:
        yield token
    finally:
        os.environ.pop(leaks.TOKEN_VARIABLE, None)  # the tests within have had their own
        if before is not None:
            os.environ[leaks.TOKEN_VARIABLE] = before
    leaks.check(token, folders)


@contextlib.contextmanager
def short_folder(token: str) -> Iterator[Path]:
    """An empty folder with a short path: a unix socket's path ends at 107 characters, and pytest's tmp_path is long."""
    path = Path(tempfile.gettempdir()) / f"lc-{token}"
    path.mkdir(mode=0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def unique() -> str:
    """This test's token: name labs, namespaces and links with it, and what is left of them is found and blamed on this test alone."""
    return new_token()


@pytest.fixture(autouse=True)
def _leak_check(request: pytest.FixtureRequest, unique: str) -> Iterator[None]:
    """Fail a test that leaves something running or lying about. Tests that start nothing pay nothing."""
    global _spawned
    _spawned = False
    os.environ[leaks.TOKEN_VARIABLE] = unique
    try:
        yield
    finally:
        del os.environ[leaks.TOKEN_VARIABLE]
    may_leak = _spawned or request.node.get_closest_marker("needs") is not None
    if may_leak and (left := leaks.after_grace(unique)):
        leaks.sweep(unique)
        pytest.fail(leaks.told(left), pytrace=False)


@pytest.fixture
def lab_home(unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty LABCTL_HOME, set in the environment; at the end no socket may be left in it."""
    with short_folder(unique) as home:
        monkeypatch.setenv("LABCTL_HOME", str(home))
        yield home
        if left := sorted(map(str, leaks.sockets(home))):
            pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture
def tun() -> Iterator[None]:
    """A /dev/net/tun that ordinary users may open while the test runs."""
    with lent_tun():
        yield


@pytest.fixture
def traffic() -> Iterator[Callable[..., Traffic]]:
    """Watches labs' storage traffic until the test ends: `traffic("my-lab").expect(op="WRITE", vm="web1").within("1s")`."""
    from labctl.testing.traffic import watching

    with contextlib.ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(watching(*args, **more))


@pytest.fixture
def ordinary_user(unique: str, pytestconfig: pytest.Config) -> Iterator[OrdinaryUser]:
    """Somebody without rights who can read the checkout; has a home folder with a short path."""
    with short_folder(f"{unique}-user") as above, as_ordinary_user(above / "home", pytestconfig.rootpath) as user:
        yield user


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option that excuses needs."""
    parser.addini("may_lack", "needs that CI may lack, each `name: reason`", type="linelist", default=[])


def _excused(config: pytest.Config) -> dict[str, str]:
    pairs = (line.partition(":") for line in config.getini("may_lack"))
    return {name.strip(): reason.strip() for name, _colon, reason in pairs}


def _wanted(item: pytest.Item) -> list[str]:
    return [name for marker in item.iter_markers("needs") for name in marker.args]


def _is_strict() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers, and look at the machine before the first test where it is ours alone."""
    config.addinivalue_line(
        "markers", "needs(*names): rights and tools that the test cannot do without; skips where one is missing"
    )
    if _is_alone(config):
        config.stash[_STATE] = leaks.machine_state()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let tests that boot guests run one after the other, and refuse needs that nobody knows."""
    for item in items:
        wanted = _wanted(item)
        if unknown := set(wanted) - set(needs.known()):
            raise pytest.UsageError(
                f"{item.nodeid}: unknown needs {sorted(unknown)}; there are {', '.join(needs.known())}"
            )
        if "qemu" in wanted and config.pluginmanager.hasplugin("xdist") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(WHOLE_MACHINE))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test where the machine lacks what it needs."""
    lacking = {name: reason for name in _wanted(item) if (reason := needs.missing(name))}
    if lacking:
        item.user_properties.append(("lacking", ",".join(lacking)))
        pytest.skip("; ".join(lacking.values()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where nothing may be skipped."""
    report = yield
    if _is_strict() and report.skipped and not hasattr(report, "wasxfail"):
        lacking = str(dict(item.user_properties).get("lacking", "")).split(",")
        if not set(lacking) <= set(_excused(item.config)):
            report.outcome = "failed"
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            report.longrepr = f"skipped, which CI does not allow: {reason}"
    return report


def _is_alone(config: pytest.Config) -> bool:
    """Whether this is the run's own process (not one of xdist's workers), and nobody else uses the machine."""
    return os.environ.get("LABCTL_TEST_ALONE") == "1" and not hasattr(config, "workerinput")


@pytest.hookimpl(trylast=True)  # after xdist has ended its workers
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Compare the machine with what it was before the first test, where it is ours alone."""
    before = session.config.stash.get(_STATE, None)
    if before is None:
        return
    left = leaks.machine_state() - before
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line("the tests left on the machine: " + "; ".join(map(str, sorted(left))), red=True)
