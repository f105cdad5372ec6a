"""The `micro` image: busybox and the guest agent, small enough that several boot within seconds on an emulated processor.

The choices of kernel arguments are measured in docs/explanation/guests.md.
"""

from __future__ import annotations

from labctl_server.image.linux import LinuxRecipe

KERNEL_ARGUMENTS = " ".join(
    (
        "console=ttyS0",
        "root=/dev/vda",
        "quiet",
        "panic=-1",  # a guest that panics starts again at once
        "mitigations=off",  # nothing runs beside the guest; each mitigation costs an emulated processor time
        "cryptomgr.notests=1",
        "lsm=",
        "audit=0",
        "random.trust_cpu=on",
        "tsc=reliable",
        "no_timer_check",
        "initcall_blacklist=load_system_certificate_list,init_kprobe_trace,crypto_kdf108_init,init_encrypted",
    )
)

PACKAGES = ("busybox-static", "e2fsprogs", "qemu-guest-agent")
PROGRAMS = {"usr/sbin/qemu-ga": "usr/sbin/qemu-ga", "sbin/resize2fs": "usr/sbin/resize2fs"}
MODULES = {
    "base": (
        "virtio_pci",
        "virtio_blk",
        "crc32c_generic",
        "ext4",
        "virtio_net",
        "virtio_console",
        "virtio_rng",
        "button",
        "evdev",
        "virtio_balloon",
    ),
    "scsi": ("virtio_scsi", "sd_mod"),
}

MICRO = LinuxRecipe(
    name="micro",
    material=("micro",),
    programs=PROGRAMS,
    packages=PACKAGES,
    modules=MODULES,
    root_size=64 * 2**20,
    arguments=KERNEL_ARGUMENTS,
)
