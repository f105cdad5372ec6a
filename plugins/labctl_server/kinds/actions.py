"""What can be done to a VM: each action is a call to its host's agent."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, cast

from labctl.errors import NotRunningError, UsageError
from labctl.model.json import Json, JsonObject
from labctl.model.resource import Resource
from labctl.plugin.api import Action, ActionContext

POWER_TIMEOUT = 90.0
"""Seconds for a power operation: a guest's orderly shutdown under load is the slowest."""

EXEC_TIMEOUT = 60.0
"""Seconds for a command in the guest, unless the caller says otherwise."""

SIGNAL_BASE = 128
"""What shells add to a signal's number to make an exit code of it."""

GRACE = 15.0
"""Seconds that the answer may take beyond what the operation itself may."""


def vm_actions() -> Mapping[str, Action]:
    """The actions by name."""
    return {"start": start, "stop": stop, "reset": reset, "exec": run_command, "console": console}


async def start(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """Power on. No arguments; returns the VM's state."""
    return await _post(context, resource, "start", {}, POWER_TIMEOUT)


async def stop(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Shut the guest down; `force`: power off at once. `timeout`: seconds for the guest. Returns the VM's state."""
    timeout = _seconds(arguments, "timeout", POWER_TIMEOUT - GRACE)
    body: JsonObject = {"force": bool(arguments.get("force", False)), "timeout": timeout}
    return await _post(context, resource, "stop", body, timeout + GRACE)


async def reset(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """Press the reset button. No arguments; returns the VM's state."""
    return await _post(context, resource, "reset", {}, POWER_TIMEOUT)


async def run_command(context: ActionContext, resource: Resource[Any], arguments: JsonObject) -> Json:
    """Run a command in the guest.

    Args:
        context: the runtime.
        resource: the VM.
        arguments: `command`, a list of words; `stdin` (text) and `timeout` (seconds) where wanted.

    Returns:
        `exit_code` (128 and the signal's number where one ended it), `stdout`, `stderr`, `truncated`.
    """
    command = arguments.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise UsageError("exec needs a command", hint=f"for example: labctl exec {resource.name} -- uname -a")
    timeout = _seconds(arguments, "timeout", EXEC_TIMEOUT)
    stdin = base64.b64encode(str(arguments.get("stdin", "")).encode()).decode()
    body: JsonObject = {"argv": command, "stdin": stdin, "timeout": timeout}
    result = cast("dict[str, Any]", await _post(context, resource, "exec", body, timeout + GRACE))
    code = result["exit_code"]
    return {
        "exit_code": code if code is not None else SIGNAL_BASE + int(result["signal"] or 0),
        "stdout": base64.b64decode(result["stdout"]).decode(errors="replace"),
        "stderr": base64.b64decode(result["stderr"]).decode(errors="replace"),
        "truncated": result["truncated"],
    }


async def console(context: ActionContext, resource: Resource[Any], _arguments: JsonObject) -> Json:
    """Where the serial console is: `socket` and `log`, paths on this machine, and `host`."""
    host = host_of(context, resource)
    answer = await context.services.agent(host).call("GET", f"/v1/vms/{resource.name}")
    state = cast("dict[str, Any]", answer)
    if state["state"] != "running":
        raise NotRunningError(f"{resource.name} is powered off", hint=f"start it: labctl vm start {resource.name}")
    return {"host": host, "socket": state["console"], "log": state["console_log"]}


def host_of(context: ActionContext, resource: Resource[Any]) -> str:
    """The host on which the VM was put.

    Raises:
        NotRunningError: it was not made yet.
    """
    for record in context.units(resource.address):
        if record.unit.type == "vm":
            return str(record.unit.spec["host"])
    raise NotRunningError(f"{resource.name} is not there yet", hint="bring it up: labctl up")


async def _post(context: ActionContext, resource: Resource[Any], action: str, body: JsonObject, timeout: float) -> Json:
    agent = context.services.agent(host_of(context, resource))
    return await agent.call("POST", f"/v1/vms/{resource.name}/{action}", body, timeout=timeout)


def _seconds(arguments: JsonObject, key: str, default: float) -> float:
    value = arguments.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise UsageError(f"{key} must be a number of seconds above 0")
    return float(value)
