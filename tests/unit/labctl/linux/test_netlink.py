from __future__ import annotations

import errno

from labctl.linux import rtnetlink
from labctl.linux.netlink import NetlinkSocket, attribute, attributes, nested, text, u32


def test_attributes_come_back_as_they_were_made() -> None:
    data = text(3, "eth0") + u32(4, 1500) + attribute(1, b"abcdef") + nested(18, text(1, "veth"))
    found = attributes(data)
    assert found[3] == b"eth0\0"
    assert found[4] == (1500).to_bytes(4, "little")
    assert found[1] == b"abcdef"
    assert attributes(found[18]) == {1: b"veth\0"}
    assert len(data) % 4 == 0


def test_a_broken_tail_ends_the_reading() -> None:
    assert attributes(u32(4, 1) + b"\0\0\0\0") == {4: b"\1\0\0\0"}
    assert attributes(b"\xff") == {}


def test_each_request_of_a_batch_gets_its_own_answer() -> None:
    handle = NetlinkSocket()
    try:
        names = ["lo", "no-such-link"] * 60  # more than fit into one send
        answers = handle.request([rtnetlink.get_link(name) for name in names])
        assert [answer.errno for answer in answers] == [0, errno.ENODEV] * 60
        assert {rtnetlink.read_link(answer.body).name for answer in answers[::2]} == {"lo"}
        assert all(answer.body for answer in handle.request([rtnetlink.get_link("lo")] * 300))
        assert handle.request([]) == []
        links = [rtnetlink.read_link(body) for body in handle.dump(rtnetlink.RTM_GETLINK, rtnetlink.links_dump())]
        assert "lo" in {link.name for link in links}
    finally:
        handle.close()
