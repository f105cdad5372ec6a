"""`labctl`: the one place that turns errors into text and exit codes.

Rules: an error that a user can understand ends as `error: …` and `hint: …` on stderr and its documented exit code; anything else
is a bug, said in one line. `--debug` adds the traceback to either.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, cast

import typer
import typer.main

from labctl.cli.commands import CORE
from labctl.cli.lazy import PLAIN, Entry, LazyGroup
from labctl.cli.output import print_error
from labctl.errors import ExitCode, LabError


@cache
def all_entries() -> Mapping[str, Entry]:
    """The core's commands and those of the plugins; a plugin cannot take a name of the core's."""
    from labctl.plugin.loader import load_plugins

    groups = {
        name: Entry(help=group.help, app=group.app, group=not group.single)
        for name, group in load_plugins().commands.items()
    }
    return {**CORE, **{name: entry for name, entry in groups.items() if name not in CORE}}


class Root(LazyGroup):
    """The commands of the core and the plugins."""

    def entries(self) -> Mapping[str, Entry]:
        """The core's and the plugins'."""
        return all_entries()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One command; the core's own do not wait for the plugins to load."""
        from labctl.cli.lazy import LazyCommand

        if cmd_name in CORE:
            return LazyCommand(cmd_name, CORE[cmd_name])
        return super().get_command(ctx, cmd_name)


def _version(wanted: bool) -> None:
    if wanted:
        from labctl import __version__

        typer.echo(f"labctl {__version__}")
        raise typer.Exit


app = typer.Typer(cls=Root, no_args_is_help=True, rich_markup_mode=PLAIN, pretty_exceptions_enable=False)


@app.callback(
    epilog="Start with `labctl up quickstart`. Exit codes: 0 done, 1 failed, 2 usage, 3 invalid topology, 4 missing tool, "
    "5 missing right, 6 not running, 7 conflict, 8 timed out, 70 a bug of labctl."
)
def labctl(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A virtualised data centre on this machine: hosts, real VMs, iSCSI and NFS arrays, separated networks."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: without the program's name.
    """
    debug = "--debug" in arguments
    # A global option may stand behind the command as well: people add it to the line that failed.
    words = [word for word in _before_dashes(arguments) if word != "--debug"] + _from_dashes(arguments)
    try:
        typer.main.get_command(app).main(args=words, prog_name="labctl")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except LabError as error:
        print_error(error)
        _traceback(debug)
        return int(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe has enough (`labctl events | head`).
        sys.stdout = cast(Any, None)
        return int(ExitCode.OK)
    except Exception as error:
        print_error(_bug(error, debug))
        _traceback(debug)
        return int(ExitCode.BUG)
    return int(ExitCode.OK)


def main() -> None:
    """The program `labctl`."""
    sys.exit(run(sys.argv[1:]))


def _before_dashes(arguments: Sequence[str]) -> list[str]:
    return list(arguments[: arguments.index("--")]) if "--" in arguments else list(arguments)


def _from_dashes(arguments: Sequence[str]) -> list[str]:
    return list(arguments[arguments.index("--") :]) if "--" in arguments else []


def _bug(error: Exception, debug: bool) -> LabError:
    first = (str(error).splitlines() or [""])[0]
    return LabError(
        f"this is a bug of labctl: {type(error).__name__}: {first}",
        hint=None if debug else "the same command with --debug shows where",
    )


def _traceback(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
