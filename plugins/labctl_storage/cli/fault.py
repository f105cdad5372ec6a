"""`labctl fault`: break storage on purpose, and mend it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import NotRunningError, UsageError
from labctl.model.suggest import did_you_mean
from labctl_storage import naming
from labctl_storage.faults import words

app = typer.Typer(add_completion=False, no_args_is_help=True)

ADD_EPILOG = """Examples:

  labctl fault add gold --latency 20ms:p99=80ms               a slow datastore

  labctl fault add gold/web1-disk0 --error medium --op read --range 1MiB-2MiB

  labctl fault add san1 --silent --initiator esx1 --for 30s   all paths down for one host

  labctl fault add gold/web1-disk0 --error pdl                a lost disk

  labctl fault add shared --error jukebox --op write --probability 0.2 --seed 7

  labctl fault add san1 --drop-after 1MiB --count 1
"""


@app.callback()
def fault() -> None:
    """Faults: slow, failing, silent storage, ordered while the lab runs."""


@app.command(epilog=ADD_EPILOG)
def add(
    place: Annotated[
        str, typer.Argument(help="An array, a datastore, or DATASTORE/VOLUME (a disk, or its LUN).", show_default=False)
    ],
    latency: Annotated[str | None, typer.Option(help="Answer later: 20ms, or 20ms:p99=80ms.")] = None,
    rate: Annotated[str | None, typer.Option(help="So many bytes a second: 10MiB.")] = None,
    error: Annotated[
        str | None,
        typer.Option(
            help="Fail: medium, write, hardware, pdl, not-ready, aborted, out-of-space, write-protected, busy, task-set-full, "
            "reservation-conflict or a sense 03/11/00 over iSCSI; any nfsstat (io, stale, jukebox, nospc, acces …) over NFS."
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse every change.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Hold commands until the fault is cleared.")] = False,
    silent: Annotated[bool, typer.Option("--silent", help="Never answer, as with all paths down.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="With --silent: reset new connections.")] = False,
    drop_after: Annotated[str | None, typer.Option(help="End connections after so many bytes: 1MiB.")] = None,
    received: Annotated[bool, typer.Option("--received", help="With --drop-after: bytes received, not sent.")] = False,
    corrupt: Annotated[str | None, typer.Option(help="Turn a bit: header-digest, data-digest or payload.")] = None,
    reorder: Annotated[bool, typer.Option("--reorder", help="Let iSCSI responses overtake one another.")] = False,
    refuse_login: Annotated[
        str | None,
        typer.Option(
            help="Refuse iSCSI logins: authentication, authorization, not-found, removed, target-error, unavailable, "
            "out-of-resources, or CLASS/DETAIL."
        ),
    ] = None,
    op: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these operations, several with commas: read, write, unmap, zero, flush, verify, any SCSI command, any NFS "
            "procedure, or an iSCSI PDU (data-in, nop-in …); * stands for anything."
        ),
    ] = None,
    range_: Annotated[str | None, typer.Option("--range", help="Only these bytes: 0-1GiB.")] = None,
    lba: Annotated[str | None, typer.Option("--lba", help="Only these 512-byte blocks: 2048-4095.")] = None,
    path: Annotated[str | None, typer.Option(help="Only these files of an NFS datastore: 'db1*'.")] = None,
    initiator: Annotated[
        list[str] | None,
        typer.Option("--initiator", "--client", help="Only this host, initiator name or address; repeatable."),
    ] = None,
    probability: Annotated[float, typer.Option(help="Of each match.", min=0.0, max=1.0)] = 1.0,
    count: Annotated[int | None, typer.Option(help="Strike so often, then no more.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Of chance, to repeat a run.", min=0)] = None,
    for_: Annotated[str | None, typer.Option("--for", help="Clear it by itself after this time: 30s.")] = None,
    name: Annotated[str, typer.Option("--name", help="What to call it; a number if not said.")] = "",
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Set a fault; it is at work at once, and stays until it is cleared or the lab goes down."""
    client = lab_client(lab, home)
    lab_view = _Lab(client)
    array, where = lab_view.place(place)
    rule: dict[str, Any] = {
        "id": name,
        "action": _action(
            {
                "--latency": latency and words.latency(latency),
                "--rate": rate and {"kind": "rate", "rate": words.size(rate, "--rate")},
                "--error": error and words.error(error, lab_view.protocol(place)),
                "--read-only": read_only and {"kind": "readonly"},
                "--pause": pause and {"kind": "pause"},
                "--silent": silent and {"kind": "silence", "reset": reset},
                "--drop-after": drop_after
                and {"kind": "drop", "after": words.size(drop_after, "--drop-after"), "received": received},
                "--corrupt": corrupt and words.corruption(corrupt),
                "--reorder": reorder and {"kind": "reorder"},
                "--refuse-login": refuse_login and words.refusal(refuse_login),
            }
        ),
        "operations": [word.strip() for each in op or () for word in each.split(",") if word.strip()],
        "clients": lab_view.clients(initiator or []),
        "probability": probability,
        "count": count,
        "seed": seed,
    }
    if range_ and lba:
        raise UsageError("--range and --lba say the same", hint="give one of them")
    if range_ or lba:
        rule |= words.span(range_) if range_ else words.blocks(lba or "")
    if path:
        rule["path"] = lab_view.path(place, path)
    order = {**where, "rule": rule, "seconds": None if for_ is None else words.seconds(for_, "--for")}
    made = client.action("array", array, "add-fault", order)["result"]
    if json:
        print_json({"fault": {"array": array, **made}})
        return
    write(f"fault {array}/{made['id']}: {made['action']} on {made['where']}")


def _action(wanted: dict[str, Any]) -> dict[str, Any]:
    """The one action that was asked for."""
    asked = {option: action for option, action in wanted.items() if action}
    if len(asked) != 1:
        said = "no action was given" if not asked else f"{' and '.join(asked)} are two faults"
        hint = f"one of {', '.join(wanted)}" if not asked else "add one after the other"
        raise UsageError(said, hint=hint)
    return dict(next(iter(asked.values())))


@app.command("list", epilog="Example: labctl fault list --json | jq '.faults[] | {id, hits}'")
def list_faults(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the faults that are set, with how often each struck."""
    client = lab_client(lab, home)
    rows = [
        {"array": array, **made}
        for array in _Lab(client).arrays
        for made in client.action("array", array, "list-faults")["result"]
    ]
    if json:
        print_json({"faults": rows})
        return
    columns = ("fault", "on", "does", "selects", "hits", "ends")
    print_table(columns, [_row(row) for row in rows])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    ends = "when cleared"
    if row["spent"]:
        ends = "spent"
    elif row["until"] is not None:
        ends = f"in {max(0.0, row['until'] - time.time()):.0f} s"
    fault_id = f"{row['array']}/{row['id']}"
    return fault_id, row["where"], row["action"], row["selection"] or "everything", str(row["hits"]), ends


@app.command(
    epilog="""Examples:

  labctl fault clear san1/1

  labctl fault clear --all
"""
)
def clear(
    ids: Annotated[list[str] | None, typer.Argument(help="Faults, as `list` shows them.", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Clear every fault of the lab.")] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Take faults away; what they hold goes on."""
    if bool(ids) is everything:
        raise UsageError("say which faults, or --all", hint="`labctl fault list` shows what is set")
    client = lab_client(lab, home)
    arrays = _Lab(client).arrays
    set_ = [
        f"{array}/{made['id']}" for array in arrays for made in client.action("array", array, "list-faults")["result"]
    ]
    chosen = set_ if everything else [_find(each, set_) for each in ids or ()]
    for each in dict.fromkeys(chosen):
        array, _, fault_id = each.partition("/")
        client.action("array", array, "clear-faults", {"id": fault_id})
        if not json:
            write(f"fault {each}: cleared")
    if json:
        print_json({"cleared": list(dict.fromkeys(chosen))})


def _find(wanted: str, known: list[str]) -> str:
    """A fault by `array/id`, or by its id where only one array has it."""
    found = [each for each in known if wanted in (each, each.partition("/")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"several faults are called {wanted}", hint=f"say which: {' or '.join(found)}")
    raise NotRunningError(
        f"there is no fault {wanted}", hint=did_you_mean(wanted, known, what="they") or "no fault is set"
    )


class _Lab:
    """What a running lab's names mean to faults.

    Args:
        client: its labd.
    """

    def __init__(self, client: DaemonClient) -> None:
        self._lab = client.lab
        self._resources: list[dict[str, Any]] = client.get("/v1/status")["resources"]

    def _of(self, kind: str) -> dict[str, dict[str, Any]]:
        return {entry["name"]: entry for entry in self._resources if entry["kind"] == kind}

    @property
    def arrays(self) -> list[str]:
        """The arrays' names."""
        return list(self._of("array"))

    def place(self, text: str) -> tuple[str, dict[str, str]]:
        """The array that a place is on, and the place as its agent takes it.

        Raises:
            NotRunningError: there is no such place.
        """
        arrays, datastores = self._of("array"), self._of("datastore")
        name, slash, volume = text.partition("/")
        if name in datastores:
            where = {"datastore": name, **({"volume": volume} if slash else {})}
            return str(datastores[name]["properties"]["array"]), where
        if name in arrays and not slash:
            return name, {}
        if name in arrays:
            raise UsageError(f"{name} is an array", hint="disks are on datastores: write DATASTORE/VOLUME")
        known = (*arrays, *datastores)
        raise NotRunningError(
            f"lab {self._lab} has no array or datastore {name}", hint=did_you_mean(name, known, what="they")
        )

    def protocol(self, text: str) -> str | None:
        """What a place speaks; None for an array that speaks both."""
        name = text.partition("/")[0]
        datastore = self._of("datastore").get(name)
        if datastore is not None:
            return str(datastore["properties"]["protocol"])
        spoken = self._of("array")[name]["properties"]["protocols"]
        return str(spoken[0]) if len(spoken) == 1 else None

    def path(self, place: str, glob: str) -> str:
        """Files of a datastore, as its array names them.

        Raises:
            UsageError: the place is no NFS datastore.
        """
        datastore = self._of("datastore").get(place)
        if datastore is None or datastore["properties"]["protocol"] != "nfs":
            raise UsageError("--path is for NFS datastores", hint="a disk's files are chosen as DATASTORE/VOLUME")
        return f"{datastore['properties']['where']}/{glob.lstrip('/')}"

    def clients(self, wanted: list[str]) -> list[str]:
        """Names and addresses of initiators. Raises UsageError."""
        hosts = {name: list((entry.get("addresses") or {}).values()) for name, entry in self._of("host").items()}
        others = [entry["name"] for entry in self._resources if entry["kind"] != "host"]
        return words.clients(wanted, hosts, others, self._lab, naming.TARGET_PREFIX)
