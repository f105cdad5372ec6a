"""`labctl image`: the machine-wide cache of images."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import note, print_json, print_table, write
from labctl.model.quantity import format_bytes
from labctl.plugin.places import image_cache
from labctl_server.image.recipe import Image
from labctl_server.image.store import ImageStore

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def image() -> None:
    """Images: what VMs' first disks start as. All labs of this machine share them."""


@app.command(
    epilog="""Examples:

  labctl image build                       the newest micro, from Debian's packages

  labctl image build /srv/disk.qcow2       takes in a disk file of your own
"""
)
def build(
    name: Annotated[str, typer.Argument(help="An image's name, or the path of a raw or qcow2 disk file.")] = "micro",
    json: options.Json = False,
) -> None:
    """Build an image anew. VMs that exist keep their disks; their next start uses the new kernel."""
    made = ImageStore(image_cache()).build(name, note)
    if json:
        print_json(_properties(made))
    else:
        write(f"{made.name} {made.version}")


@app.command("list", epilog="Example: labctl image list --json")
def list_images(json: options.Json = False) -> None:
    """List the images that are ready, and those that can be built."""
    store = ImageStore(image_cache())
    ready = [_properties(found) for found in store.list()]
    missing = [{"name": name} for name in store.names() if name not in {entry["name"] for entry in ready}]
    if json:
        print_json({"images": [*ready, *missing]})
        return
    rows = [(entry["name"], entry["version"], format_bytes(entry["size"]), entry["rootfs"]) for entry in ready]
    rows += [(entry["name"], "not built", "", "") for entry in missing]
    print_table(("image", "version", "size", "disk"), rows)


def _properties(made: Image) -> dict[str, Any]:
    return {
        "name": made.name,
        "version": made.version,
        "size": made.rootfs_size,
        "rootfs": str(made.rootfs),
        "kernel": None if made.kernel is None else str(made.kernel),
        "packages": list(made.packages),
    }
