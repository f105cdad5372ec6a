"""What apt says, read."""

from __future__ import annotations

from labctl_server.image.packages import Package, closure, parse_dependencies, parse_uris

DEPENDS = """\
qemu-guest-agent
  PreDepends: init-system-helpers
  Depends: libc6
  Depends: libglib2.0-0
init-system-helpers
  Depends: perl-base
libc6:amd64
  Depends: libgcc-s1
 |Depends: libperl5.36
  Depends: <debconf-2.0>
    cdebconf
libglib2.0-0
  Depends: libc6:any
"""


def test_libraries_are_followed_and_interpreters_are_not() -> None:
    graph = parse_dependencies(DEPENDS)
    assert graph["libc6"] == ["libgcc-s1", "libperl5.36", "<debconf-2.0>"]
    assert closure(graph, ["qemu-guest-agent"]) == ["libc6", "libgcc-s1", "libglib2.0-0", "qemu-guest-agent"]


def test_uris_give_file_size_and_hash() -> None:
    text = f"'http://deb.debian.org/x_1%3a2_amd64.deb' x_1%3a2_amd64.deb 928 SHA256:{'a' * 64}\n"
    assert parse_uris(text) == [Package(file="x_1%3a2_amd64.deb", size=928, sha256="a" * 64)]
