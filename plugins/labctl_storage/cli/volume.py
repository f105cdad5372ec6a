"""`labctl volume`: disks on datastores, their snapshots, and clones of them."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.target import lab_client
from labctl.contracts.traffic import names_of
from labctl.daemon.client import DaemonClient
from labctl.errors import ConflictError, NotRunningError, UsageError
from labctl.model.quantity import format_bytes
from labctl.model.suggest import did_you_mean

COPY_DEADLINE = 3600.0
"""Seconds for what moves a disk's data."""

app = typer.Typer(add_completion=False, no_args_is_help=True)
snapshot_app = typer.Typer(add_completion=False, no_args_is_help=True)
app.add_typer(snapshot_app, name="snapshot")

Place = Annotated[str, typer.Argument(metavar="VOLUME", help="DATASTORE/VOLUME, as `list` shows.", show_default=False)]
Snapshot = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="The snapshot's name.", show_default=False)]


@app.callback()
def volume() -> None:
    """Volumes: disks on datastores, their snapshots and clones."""


@snapshot_app.callback()
def snapshot() -> None:
    """Snapshots that the array keeps of a LUN, while it is used."""


@app.command("list", epilog="Example: labctl volume list --json | jq '.volumes[].used'")
def list_volumes(lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """List the volumes of all datastores with their use, LUN, snapshots, and the VM that has them."""
    view = _Lab(lab_client(lab, home))
    rows = view.volumes()
    if json:
        print_json({"volumes": rows})
        return
    print_table(
        ("volume", "size", "used", "lun", "snapshots", "used by", "clone of"),
        [
            (
                str(row["volume"]),
                format_bytes(int(row["size"])),
                format_bytes(int(row["used"])),
                "-" if row["lun"] is None else str(row["lun"]),
                str(row["snapshots"]),
                str(row["used_by"] or "-"),
                str(row.get("clone_of") or "-"),
            )
            for row in rows
        ],
    )


@snapshot_app.command(epilog="Example: labctl volume snapshot create gold/web1-disk0 before-upgrade")
def create(
    place: Place,
    name: Snapshot,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Keep what a volume holds now, at once, while it is used; what a guest has not yet flushed is not in it."""
    made = _Lab(lab_client(lab, home)).act(place, "create-snapshot", snapshot=name)
    if json:
        print_json({"snapshot": made})
        return
    write(f"{place}: snapshot {name}")


@snapshot_app.command("list", epilog="Example: labctl volume snapshot list gold/web1-disk0")
def list_snapshots(
    place: Place, lab: options.Lab = None, home: options.Home = None, json: options.Json = False
) -> None:
    """List a volume's snapshots, parents first, with what each has kept; * marks the one that the volume goes on from."""
    rows = _Lab(lab_client(lab, home)).act(place, "list-snapshots")
    if json:
        print_json({"snapshots": rows})
        return
    print_table(
        ("snapshot", "parent", "created", "keeps", "current"),
        [
            (
                row["name"],
                row["parent"] or "-",
                time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["created"])),
                format_bytes(int(row["allocated"])),
                "*" if row["current"] else "",
            )
            for row in rows
        ],
    )


@snapshot_app.command(
    epilog="Example: labctl vm stop web1 && labctl volume snapshot revert gold/web1-disk0 before-upgrade"
)
def revert(
    place: Place,
    name: Snapshot,
    force: Annotated[
        bool, typer.Option("--force", help="Also under a VM that runs: its file system may break.")
    ] = False,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Put a volume back to a snapshot; what was written since goes, unless another snapshot keeps it."""
    view = _Lab(lab_client(lab, home))
    user = view.running_user(place)
    if user and not force:
        raise ConflictError(
            f"{user} runs on {place}",
            hint=f"stop it first: labctl vm stop {user} (or --force, and it finds another disk)",
        )
    view.act(place, "revert-snapshot", snapshot=name)
    if json:
        print_json({"reverted": {"volume": place, "snapshot": name}})
        return
    write(f"{place} is as it was at {name}")


@snapshot_app.command(epilog="Example: labctl volume snapshot delete gold/web1-disk0 before-upgrade")
def delete(
    place: Place,
    name: Snapshot,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Forget a snapshot; what only it told apart is merged while the volume is used."""
    _Lab(lab_client(lab, home)).act(place, "delete-snapshot", snapshot=name)
    if json:
        print_json({"deleted": {"volume": place, "snapshot": name}})
        return
    write(f"{place}: snapshot {name} is gone")


@app.command(epilog="Example: labctl volume clone gold/web1-disk0 forensics --snapshot before-upgrade")
def clone(
    place: Place,
    name: Annotated[str, typer.Argument(metavar="CLONE", help="The clone's name.", show_default=False)],
    from_: Annotated[
        str | None, typer.Option("--snapshot", help="As it was at this snapshot; as it is now if not said.")
    ] = None,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Make a volume of its own from another, or from a snapshot of it, with a LUN on the same datastore.

    It shares blocks where the file system below can, else they are copied. It lives until it is deleted, or the lab goes down.
    """
    made = _Lab(lab_client(lab, home)).act(place, "clone-volume", clone=name, snapshot=from_)
    if json:
        print_json({"volume": {"volume": f"{place.partition('/')[0]}/{name}", **made}})
        return
    write(
        f"{place.partition('/')[0]}/{name}: LUN {made['lun']}, {format_bytes(int(made['size']))}, a clone of {made['clone_of']}"
    )


@app.command("delete", epilog="Example: labctl volume delete gold/forensics")
def delete_clone(place: Place, lab: options.Lab = None, home: options.Home = None, json: options.Json = False) -> None:
    """Delete a clone with its data; the topology's own disks are taken out there."""
    _Lab(lab_client(lab, home)).act(place, "delete-clone")
    if json:
        print_json({"deleted": {"volume": place}})
        return
    write(f"{place} is gone")


class _Lab:
    """The volumes of a running lab.

    Args:
        client: its labd.
    """

    def __init__(self, client: DaemonClient) -> None:
        self._client = client
        self._resources: list[dict[str, Any]] = client.get("/v1/status")["resources"]

    def volumes(self) -> list[dict[str, Any]]:
        """Every volume with its properties, by name."""
        users = {volume: vm for volume, vm, _ in self._users()}
        rows = []
        for array in (each["name"] for each in self._resources if each["kind"] == "array"):
            for name, properties in self._client.action("array", array, "list-volumes")["result"].items():
                rows.append({"volume": name, "array": array, **properties, "used_by": users.get(name)})
        return sorted(rows, key=lambda row: str(row["volume"]))

    def act(self, place: str, action: str, **arguments: str | None) -> Any:
        """Do something to a volume through its array.

        Raises:
            UsageError: the place is no DATASTORE/VOLUME.
            NotRunningError: there is no such datastore or volume.
            LabError: what the array says.
        """
        datastore, slash, name = place.partition("/")
        stores = {each["name"]: each for each in self._resources if each["kind"] == "datastore"}
        if not slash or not name:
            raise UsageError(f"{place} is no volume", hint="write DATASTORE/VOLUME; `labctl volume list` shows them")
        if datastore not in stores:
            hint = did_you_mean(datastore, stores, what="they")
            raise NotRunningError(f"lab {self._client.lab} has no datastore {datastore}", hint=hint)
        array = str(stores[datastore]["properties"]["array"])
        order = {"datastore": datastore, "volume": name, **{k: v for k, v in arguments.items() if v is not None}}
        return self._client.action("array", array, action, order, timeout=COPY_DEADLINE)["result"]

    def running_user(self, place: str) -> str:
        """The VM that runs on a volume, or ""."""
        return next((vm for volume, vm, runs in self._users() if volume == place and runs), "")

    def _users(self) -> list[tuple[str, str, bool]]:
        """Volume, VM, and whether that runs, or may: a host that does not answer is no sign that it does not."""
        names = names_of(self._resources)
        off = {each["name"] for each in self._resources if each["kind"] == "vm" and each["state"] == "stopped"}
        return [
            (f"{volume.datastore}/{volume.disk}", volume.vm, volume.vm not in off)
            for volume in (*names.luns.values(), *names.exports.values())
            if volume.vm
        ]
