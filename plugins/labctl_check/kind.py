"""Kind `check`: what a running lab's storage traffic is to have, or never to have.

A check makes nothing: it compiles to no unit, and `labctl check` reads it from the running lab's inventory.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field

from labctl.model.problem import Problem
from labctl.model.quantity import Seconds
from labctl.model.reference import Ref
from labctl.model.resource import Resource, Spec
from labctl.model.suggest import did_you_mean
from labctl.plugin.api import CompileView, Description, Kind, TopologyView
from labctl.trace.operations import OPERATIONS
from labctl_check.words import asked

WITHIN = 10.0
"""Seconds that a check watches if it does not say so: a guest writes its page cache back after 5, and there is room for a busy machine."""

ASKING = ("op", "vm", "host", "datastore", "slower", "failed")
"""The keys that say which commands are meant."""


class CheckSpec(Spec):
    """The table `[check.NAME]`."""

    op: Annotated[str, Field(description="The operation: WRITE, READ(16), OPEN, LOCK*; WRITE is WRITE(10) too.")] = ""
    vm: Annotated[str | None, Ref("vm"), Field(description="Whose.")] = None
    host: Annotated[str | None, Ref("host"), Field(description="Whose.")] = None
    datastore: Annotated[str | None, Ref("datastore"), Field(description="Where.")] = None
    slower: Annotated[Seconds | None, Field(gt=0, description="That took this long at least, e.g. 5ms.")] = None
    failed: Annotated[bool, Field(description="That failed, or had no response.")] = False
    count: Annotated[int, Field(ge=1, description="So many of them at least.")] = 1
    within: Annotated[Seconds, Field(gt=0, description="How long it is watched for, e.g. 1s.")] = WITHIN
    never: Annotated[bool, Field(description="Such a command is not to be seen for that long.")] = False
    on: Annotated[
        str | None, Ref("vm", "host", "array", "node"), Field(description="Where `run` runs: a guest or a node.")
    ] = None
    run: Annotated[
        tuple[str, ...], Field(description="A command and its arguments that make the traffic, as for `labctl exec`.")
    ] = ()


class CheckKind(Kind[CheckSpec]):
    """A promise about traffic."""

    name = "check"
    summary = "what a running lab's storage traffic must have, or must never have"
    spec = CheckSpec

    def check(self, resource: Resource[CheckSpec], view: TopologyView) -> Iterable[Problem]:
        """It asks for something that can be."""
        spec = resource.spec
        if not any(getattr(spec, key) for key in ASKING):
            yield Problem(
                path=resource.table, message="says nothing of the commands it means", hint=f"give it {_any_of(ASKING)}"
            )
        if spec.op and not _known(spec.op):
            yield Problem(
                path=resource.path("op"),
                message=f'no operation is called "{spec.op}"',
                hint=did_you_mean(spec.op.upper(), OPERATIONS) or "`labctl trace list FILE` shows operations by name",
            )
        if spec.never and spec.count > 1:
            yield Problem(
                path=resource.path("count"),
                message="never and count exclude each other",
                hint="never fails at the first command; leave count out",
            )
        if spec.run and spec.on is None:
            yield Problem(path=resource.path("run"), message="run needs a place", hint='add on = "web1"')
        if spec.on is not None and not spec.run:
            yield Problem(path=resource.path("on"), message="on means nothing without run", hint='add run = ["sync"]')

    def describe(self, resource: Resource[CheckSpec], view: CompileView) -> Description:
        """What it asks, in words; and its table, for `labctl check`."""
        spec = resource.spec
        return Description(
            summary=asked(spec.model_dump(mode="json")), drawn="none", properties=spec.model_dump(mode="json")
        )


def _known(word: str) -> bool:
    word = word.upper()
    return any(name == word or name.startswith(f"{word}(") or fnmatchcase(name, word) for name in OPERATIONS)


def _any_of(keys: Iterable[str]) -> str:
    *most, last = keys
    return f"{', '.join(most)} or {last}"
