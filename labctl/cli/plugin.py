"""`labctl plugin`: what is installed, whether it is sound, and a new one to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table, write
from labctl.errors import ExitCode

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.command("list", epilog="Example: labctl plugin list --json")
def list_plugins(as_json: options.Json = False) -> None:
    """List the plugins, and the kinds that they bring."""
    from labctl.plugin.loader import load_plugins

    plugins = load_plugins()
    owners = {name: type(kind).__module__.partition(".")[0] for name, kind in plugins.kinds.items()}
    rows = []
    for plugin in plugins.loaded:
        package = plugin.module.partition(".")[0]
        kinds = [name for name, owner in owners.items() if owner == package]
        rows.append({"name": plugin.name, "module": plugin.module, "version": plugin.version, "kinds": kinds})
    if as_json:
        print_json({"plugins": rows})
        return
    print_table(
        ("plugin", "version", "kinds", "module"),
        [(str(r["name"]), str(r["version"]), ", ".join(r["kinds"]) or "none", str(r["module"])) for r in rows],
    )


@app.command(epilog="Example: labctl plugin doctor")
def doctor(as_json: options.Json = False) -> None:
    """Load every plugin, call its hooks, and name what is wrong with which."""
    from labctl.plugin.loader import load_plugins

    plugins = load_plugins()
    failures = plugins.examine()
    if as_json:
        print_json({"plugins": [p.name for p in plugins.loaded], "failures": [vars(failure) for failure in failures]})
    else:
        failed = {failure.plugin for failure in failures}
        for plugin in plugins.loaded:
            if plugin.name not in failed:
                write(f"ok      {plugin.name} ({plugin.module})")
        for failure in failures:
            write(f"failed  {failure}")
    if failures:
        raise typer.Exit(int(ExitCode.FAILED))


@app.command(epilog="Example: labctl plugin new clock && cd labctl-clock && pip install -e . && pytest")
def new(
    name: Annotated[str, typer.Argument(help="The plugin's name, e.g. clock.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where its folder labctl-NAME is made.")] = Path(),
    as_json: options.Json = False,
) -> None:
    """Write a working third-party plugin with a kind, a handler and tests that pass."""
    from labctl.plugin.scaffold import new_plugin

    files = new_plugin(name, folder)
    project = folder / f"labctl-{name}"
    if as_json:
        print_json({"folder": str(project), "files": [str(file) for file in files]})
        return
    write(f"wrote {len(files)} files to {project}; next: cd {project} && pip install -e . && pytest")
