import os
import subprocess
from pathlib import Path

import pytest

from labctl.testing.plugin import new_token, watched

CONFTEST = """
    from labctl.testing import needs
    needs.register(needs.Need(name="moon", probe=lambda: "it is day", mend="wait for the night"))
    needs.register(needs.Need(name="sun", probe=lambda: None, mend="none"))
    pytest_plugins = ["labctl.testing.plugin"]
"""
MOON = """
    import pytest

    @pytest.mark.needs("sun")
    def test_by_day():
        pass

    @pytest.mark.needs("moon")
    def test_by_night():
        raise AssertionError
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A third party's tests, run by a pytest of their own."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("LABCTL_TEST_ALONE", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return pytester


def run(project: pytest.Pytester, *args: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-rs", "-p", "no:cacheprovider", *args)


def is_running(pid: str) -> bool:
    """Neither gone nor a zombie, which has no command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_a_test_is_skipped_with_what_lacks_and_how_to_mend_it(project: pytest.Pytester) -> None:
    project.makepyfile(MOON)
    result = run(project)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs moon: it is day (mend: wait for the night)"])


def test_a_skip_is_a_failure_where_ci_runs(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    project.makepyfile(MOON)
    result = run(project)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["skipped, which CI does not allow: *needs moon*"])


def test_a_skip_without_a_need_is_a_failure_too_where_ci_runs(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    project.makepyfile("import pytest\n\ndef test_lazy():\n    pytest.skip('not today')")
    assert run(project).ret == pytest.ExitCode.TESTS_FAILED


def test_an_excused_need_may_be_skipped_where_ci_runs(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    project.makeini("[pytest]\nmay_lack =\n    moon: this planet has none\n")
    project.makepyfile(MOON)
    result = run(project)
    result.assert_outcomes(passed=1, skipped=1)
    assert result.ret == pytest.ExitCode.OK


def test_a_misspelt_need_stops_the_run(project: pytest.Pytester) -> None:
    project.makepyfile(MOON.replace('"moon"', '"mooon"'))
    result = run(project)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown needs*mooon*"])


def test_a_process_that_outlives_its_test_fails_it_and_is_killed(project: pytest.Pytester) -> None:
    project.makepyfile("""
        import subprocess
        from pathlib import Path

        def test_leaves_a_process():
            process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            Path("pid").write_text(str(process.pid))
            process.returncode = 0  # forget it, so that nothing warns

        def test_is_not_blamed():
            subprocess.run(["true"], check=True)
    """)
    result = run(project)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR*test_leaves_a_process*", "the test left behind:", "  process * (sleep 1000)"])
    assert not is_running((project.path / "pid").read_text())


def test_the_run_fails_when_the_machine_is_not_as_before(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABCTL_TEST_ALONE", "1")
    token = new_token()
    project.makepyfile(f"""
        import os, subprocess
        from pathlib import Path

        def test_hides_a_process():
            environment = dict(os.environ, LABCTL_TEST={token!r})
            process = subprocess.Popen(["sleep", "1000"], env=environment, start_new_session=True)
            Path("pid").write_text(str(process.pid))
            process.returncode = 0
    """)
    result = run(project)
    os.kill(int((project.path / "pid").read_text()), 9)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*left on the machine:*process*"])


def test_a_fixture_of_wider_scope_watches_what_it_started() -> None:
    with pytest.raises(AssertionError, match="process"), watched(new_token()):
        process = subprocess.Popen(["sleep", "1000"])
    assert process.wait(5) == -9


def test_lab_home_is_empty_named_in_the_environment_and_short_enough_for_sockets(lab_home: Path) -> None:
    assert os.environ["LABCTL_HOME"] == str(lab_home)
    assert list(lab_home.iterdir()) == []
    assert len(str(lab_home)) < 30
