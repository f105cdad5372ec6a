"""Exports as people write them: `PATH=URL[,OPTION…]`."""

from __future__ import annotations

from typing import cast

from labemu_nfs.errors import ConfigurationError
from labemu_nfs.exports import NOBODY, Export, Security, Squash, parse_clients
from labemu_store.errors import StoreConfigError
from labemu_store.file import FileStore, FileStoreUrlError, open_file_store
from labemu_store.file.quota import QuotaStore
from labemu_store.size import parse_size

_SHAPE = "Write PATH=URL[,OPTION…], for example /gold=file:///srv/gold,ro,squash=root,client=10.0.0.0/24."
_FLAGS = ("ro", "rw", "sync", "async")
_VALUES = ("squash", "anonuid", "anongid", "client", "sec", "fsid", "refer", "quota", "files")


def parse_export(text: str) -> Export:
    """An export, with its store opened.

    Raises:
        ConfigurationError: with a hint.
    """
    path, equals, rest = text.partition("=")
    url, *words = rest.split(",")
    if not equals or not url:
        raise ConfigurationError(f"{text}: no URL", hint=_SHAPE)
    options, clients, refer = _options(words)
    try:
        store = open_file_store(url)
    except FileStoreUrlError as error:
        raise ConfigurationError(error.message, hint=error.hint) from error
    try:
        return Export(
            path=path,
            store=_limited(store, options),
            read_only="ro" in options,
            squash=_squash(options.get("squash", "none")),
            anonymous_uid=_number("anonuid", options.get("anonuid", str(NOBODY))),
            anonymous_gid=_number("anongid", options.get("anongid", str(NOBODY))),
            clients=parse_clients(clients),
            security=_security(options.get("sec", "sys+none")),
            sync="async" not in options,
            fsid=_number("fsid", options.get("fsid", "0")),
            refer=tuple(map(_location, refer)),
        )
    except ConfigurationError:
        store.close()
        raise


def _options(words: list[str]) -> tuple[dict[str, str], str, list[str]]:
    """The options by name, and those that may be repeated: the clients, and where else it is."""
    options: dict[str, str] = {}
    clients: list[str] = []
    refer: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if (name not in _VALUES) if equals else (name not in _FLAGS):
            known = ", ".join((*_FLAGS, *(f"{name}=…" for name in _VALUES)))
            raise ConfigurationError(f"{word}: no such option of an export", hint=f"There are: {known}.")
        if name == "client":
            clients.append(value)
        elif name == "refer":
            refer.append(value)
        else:
            options[name] = value
    return options, ",".join(clients), refer


def _limited(store: FileStore, options: dict[str, str]) -> FileStore:
    """The store, with a quota where one is given."""
    if "quota" not in options and "files" not in options:
        return store
    try:
        size = parse_size(options["quota"]) if "quota" in options else None
    except StoreConfigError as error:
        raise ConfigurationError(f"quota={options['quota']}: not a size", hint="Write quota=10GiB.") from error
    files = _number("files", options["files"]) if "files" in options else None
    return cast("FileStore", QuotaStore(store, size=size, files=files))


def _location(text: str) -> tuple[str, str]:
    host, slash, path = text.rpartition(":/")
    if not host or not slash:
        raise ConfigurationError(f"refer={text}: not a place", hint="Write refer=10.0.0.2:/gold.")
    return host, f"/{path}"


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigurationError(f"{name}={text}: not a number", hint=f"Write {name}=1000.")
    return int(text)


def _squash(text: str) -> Squash:
    if text not in ("none", "root", "all"):
        raise ConfigurationError(f"squash={text}: no such thing", hint="Write squash=none, squash=root or squash=all.")
    return cast(Squash, text)


def _security(text: str) -> frozenset[Security]:
    names = text.split("+")
    if not all(name in ("sys", "none") for name in names):
        raise ConfigurationError(f"sec={text}: no such thing", hint="Write sec=sys, sec=none or sec=sys+none.")
    return frozenset(cast(list[Security], names))
