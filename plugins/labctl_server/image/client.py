"""The `client` image: micro, and Linux's own storage clients: open-iscsi, multipath, the kernel's NFS client with its locks, and fio.

For whoever tests storage against the truest clients there are. It answers a few seconds later than micro, and wants 256 MiB.
"""

from __future__ import annotations

from labctl_server.image.linux import LinuxRecipe
from labctl_server.image.micro import KERNEL_ARGUMENTS, MODULES, PACKAGES, PROGRAMS

_CLIENTS = (
    "open-iscsi",
    "multipath-tools",
    "udev",
    "dmsetup",
    "nfs-common",
    "rpcbind",
    "libtirpc-common",
    "netbase",
    "mount",
    "util-linux",
    "e2fsprogs",
    "fio",
    "git",
    "sqlite3",
    "attr",
    "nfs4-acl-tools",
)
_MODULES = {
    **MODULES,
    "storage": (
        *("iscsi_tcp", "sd_mod", "dm_multipath", "dm_round_robin", "dm_service_time"),
        *("nfs", "nfsv3", "nfsv4", "nfs_layout_flexfiles", "lockd", "loop"),
    ),
}

CLIENT = LinuxRecipe(
    name="client",
    material=("micro", "client"),
    programs=PROGRAMS,
    packages=PACKAGES,
    whole=_CLIENTS,
    modules=_MODULES,
    root_size=512 * 2**20,
    arguments=f"{KERNEL_ARGUMENTS} labctl.modules=storage",
)
