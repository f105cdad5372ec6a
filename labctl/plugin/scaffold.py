"""`labctl plugin new NAME`: the beginnings of a third party's plugin, with a test that passes.

The project's files come from the templates beside this module; `$name`, `$package` and the like are filled in.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from string import Template

from labctl.errors import ConflictError, UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "{package}/__init__.py": "init.py",
    "{package}/plugin.py": "plugin.py",
    "{package}/kind.py": "kind.py",
    "{package}/handler.py": "handler.py",
    "tests/test_{module}.py": "test.py",
}
"""File → template."""


def new_plugin(name: str, folder: Path) -> list[Path]:
    """Write a new plugin project.

    Args:
        name: the plugin's and its kind's name, e.g. `load-balancer`.
        folder: where the project's folder `labctl-NAME` is made.

    Returns:
        The files written.

    Raises:
        UsageError: the name does not do.
        ConflictError: the project's folder exists and is not empty.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f'"{name}" cannot be a plugin\'s name', hint="use a-z, 0-9 and single -, beginning with a letter"
        )
    project = folder / f"labctl-{name}"
    if project.exists() and (not project.is_dir() or any(project.iterdir())):
        raise ConflictError(f"{project} exists already", hint="choose another name, or move it away")
    module = name.replace("-", "_")
    values = {
        "name": name,
        "kind": name,
        "module": module,
        "package": f"labctl_{module}",
        "cls": "".join(part.capitalize() for part in name.split("-")),
    }
    written = []
    templates = resources.files("labctl.plugin") / "templates"
    for pattern, template in _FILES.items():
        path = project / pattern.format(**values)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (templates / f"{template}.tmpl").read_text("utf-8")
        path.write_text(Template(text).substitute(values), "utf-8")
        written.append(path)
    return written
