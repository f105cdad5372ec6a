"""Where an array's data lies, as a topology says it: what is wrong with that is found before anything is started.

Rules: a topology holds no secret. What a filesystem needs to let us in comes from labd's environment, or from a file of its owner's that
only the owner can read; only that file's path is ever recorded or shown.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from labctl.errors import LabError
from labctl.model.problem import Problem
from labctl.model.resource import Resource

LOCAL = ("file", "memory")
"""The backings that are this machine's; anything else is reached through fsspec."""

_SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SECRET_WORD = re.compile(r"key|secret|token|passw|credential|connection_string", re.IGNORECASE)
_S3 = ("s3", "s3a")


def is_elsewhere(url: str) -> bool:
    """Whether an array's data is not this machine's."""
    return urlsplit(url).scheme not in LOCAL


def secret_path(name: str) -> Path:
    """The file of a named secret: `~/.config/labctl/secrets/NAME.toml`, of who runs labctl."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "labctl" / "secrets" / f"{name}.toml"


def check_url(url: str) -> str:
    """The URL, if it can be a backing.

    Raises:
        ValueError: why it cannot.
    """
    parts = urlsplit(url)
    if not parts.scheme or "://" not in url:
        raise ValueError(f'"{url}" is no URL (write file:///FOLDER, memory:// or s3://BUCKET/PREFIX)')
    if parts.username or parts.password:
        raise ValueError("credentials do not belong in a topology (name a secret: backing_secret)")
    if parts.query or parts.fragment:
        raise ValueError("a backing has no options in its URL (write backing_options, backing_cache)")
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path.startswith("/")):
        raise ValueError(f'"{url}" is no absolute path (write three slashes: file:///FOLDER)')
    if parts.scheme in ("http", "https") or "::" in url:
        raise ValueError(f'"{url}" can only be read (write s3://BUCKET/PREFIX or another that can be written)')
    if parts.scheme not in LOCAL and not parts.netloc:
        raise ValueError(f'"{url}" names no bucket or host (write {parts.scheme}://BUCKET/PREFIX)')
    return url


def check_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options, if none of them is secret.

    Raises:
        ValueError: one is.
    """
    for name in options:
        if _SECRET_WORD.search(name):
            raise ValueError(f'"{name}" does not belong in a topology (put it into a secret: backing_secret)')
    return options


def check_secret_name(name: str) -> str:
    """The name, if it is one.

    Raises:
        ValueError: it is not.
    """
    if _SECRET_NAME.fullmatch(name) is None:
        raise ValueError(f'"{name}" is no name of a secret (letters, digits, dots, dashes and underscores)')
    return name


def problems(resource: Resource[Any], url: str, options: Mapping[str, Any], secret: str | None) -> Iterable[Problem]:
    """What keeps a backing from being used, as far as it can be told without asking anybody.

    Args:
        resource: the array.
        url: its backing.
        options: its options.
        secret: the name of its secret, or None.
    """
    if not is_elsewhere(url):
        for key, value in (("backing_options", options), ("backing_secret", secret)):
            if value:
                yield Problem(
                    path=resource.path(key), message=f"{url} has no use for it", hint="remove it, or change the backing"
                )
        return
    from labemu_store.errors import StoreConfigError
    from labemu_store.remote.opening import check_protocol  # here for start-up time: few topologies need them

    try:
        check_protocol(url)
    except StoreConfigError as error:
        yield Problem(path=resource.path("backing"), message=str(error), hint=error.hint)
        return
    if secret is not None:
        yield from _secret_problems(resource, secret)
    elif urlsplit(url).scheme in _S3 and not options.get("anon") and not _has_s3_credentials(options):
        yield Problem(
            path=resource.path("backing"),
            message="there are no credentials for it",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a secret: backing_secret",
        )


def _secret_problems(resource: Resource[Any], name: str) -> Iterable[Problem]:
    path = secret_path(name)

    def problem(message: str, hint: str) -> Problem:
        return Problem(path=resource.path("backing_secret"), message=message, hint=hint)

    try:
        mode = path.stat().st_mode
        content = path.read_text("utf-8")
    except OSError as error:
        yield problem(f'the secret "{name}" cannot be read: {error.strerror}', f"write it to {path}")
        return
    except UnicodeDecodeError:
        content = "="  # as little TOML as that
    if stat.S_IMODE(mode) & 0o077:
        yield problem(f'others may read the secret "{name}"', f"chmod 600 {path}")
    try:
        tomllib.loads(content)
    except ValueError:
        yield problem(f'the secret "{name}" is no TOML', f'write lines such as key = "…" to {path}')


def _has_s3_credentials(options: Mapping[str, Any]) -> bool:
    """Whether botocore, which s3fs is made of, finds any: in the environment, ~/.aws, or this machine's role."""
    from botocore.exceptions import BotoCoreError  # here: it comes with s3fs, which few have
    from botocore.session import Session

    try:
        return Session(profile=options.get("profile")).get_credentials() is not None
    except BotoCoreError as error:
        raise LabError(f"the AWS configuration cannot be used: {error}", hint="look at ~/.aws/config") from error
