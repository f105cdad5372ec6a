"""What every file store does with holes, copies, extended attributes and its change numbers."""

from __future__ import annotations

from contextlib import closing, suppress
from errno import EEXIST, EFBIG, EINVAL, ENODATA, ENOSPC, ENXIO, EOPNOTSUPP

import pytest

from labemu_store.file import AttributeChange, LocalFileStore, MemoryFileStore, Ownership
from labemu_store.file.types import MAX_OFFSET, XattrMode

OWNER = Ownership(mode=0o640, uid=0, gid=0)
BLOCK = 65536


@pytest.fixture(params=["memory", "local"])
def store(request, tmp_path):
    it = MemoryFileStore() if request.param == "memory" else LocalFileStore(tmp_path)
    with closing(it):
        yield it


@pytest.fixture
def file(store):
    """A hole, data, a hole, a little data: of a block each but for the last."""
    key = store.create(store.root, b"f", OWNER)
    store.write(key, BLOCK, b"d" * BLOCK)
    store.write(key, 3 * BLOCK, b"end")
    return key


def failing(code, function, *arguments, **named):
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is checked below
        function(*arguments, **named)
    assert caught.value.errno == code


def test_data_and_holes_are_found(store, file):
    assert store.seek(file, 0, data=True) == BLOCK
    assert store.seek(file, 0, data=False) == 0
    assert store.seek(file, BLOCK + 5, data=True) == BLOCK + 5
    assert store.seek(file, BLOCK + 5, data=False) == 2 * BLOCK
    assert store.seek(file, 2 * BLOCK, data=True) == 3 * BLOCK
    assert store.seek(file, 3 * BLOCK, data=False) == 3 * BLOCK + 3
    for data in (True, False):
        failing(ENXIO, store.seek, file, 3 * BLOCK + 3, data=data)
        failing(ENXIO, store.seek, file, 2**64 - 1, data=data)
    store.setattr(file, AttributeChange(size=1 << 43))
    failing(ENXIO, store.seek, file, 1 << 42, data=True)
    assert store.seek(file, 1 << 42, data=False) == 1 << 42


def test_allocated_bytes_are_zeros_and_take_room(store, file):
    before = store.getattr(file)
    store.allocate(file, 0, BLOCK)
    assert store.getattr(file).used >= before.used + BLOCK
    store.allocate(file, 4 * BLOCK, BLOCK)
    assert store.getattr(file).size == 5 * BLOCK
    assert store.read(file, 0, 8 * BLOCK) == (
        bytes(BLOCK) + b"d" * BLOCK + bytes(BLOCK) + b"end" + bytes(2 * BLOCK - 3)
    )
    failing(EINVAL, store.allocate, file, 0, 0)
    failing(EFBIG, store.allocate, file, MAX_OFFSET, 1)


def test_memory_that_is_full_allocates_no_more():
    store = MemoryFileStore(capacity=4 * BLOCK)
    key = store.create(store.root, b"f", OWNER)
    store.allocate(key, 0, 4 * BLOCK)
    failing(ENOSPC, store.allocate, key, 0, 5 * BLOCK)
    failing(ENOSPC, store.allocate, key, 0, MAX_OFFSET)
    store.allocate(key, 5, 3 * BLOCK)


def test_deallocated_bytes_are_zeros_and_the_size_stays(store, file):
    before = store.getattr(file)
    store.deallocate(file, BLOCK - 10, BLOCK + 20)
    assert store.read(file, 0, 4 * BLOCK) == bytes(3 * BLOCK) + b"end"
    after = store.getattr(file)
    assert after.size == before.size
    assert after.used < before.used
    store.deallocate(file, 0, MAX_OFFSET)
    assert store.getattr(file).size == before.size
    assert store.read(file, 3 * BLOCK, 3) == bytes(3)


def test_a_part_of_a_block_is_made_zero(store, file):
    store.deallocate(file, BLOCK + 1, 3)
    assert store.read(file, BLOCK, 6) == b"d\0\0\0dd"


def test_copies_are_equal_and_end_with_their_source(store, file):
    other = store.create(store.root, b"g", OWNER)
    store.write(other, 0, b"x" * 100)
    assert store.copy(file, BLOCK - 2, other, 10, 4)() == 4
    assert store.read(other, 0, 200) == b"x" * 10 + b"\0\0dd" + b"x" * 86
    assert store.copy(file, 3 * BLOCK, other, 0, BLOCK)() == 3
    assert store.read(other, 0, 4) == b"endx"
    assert store.copy(file, 9 * BLOCK, other, 0, BLOCK)() == 0
    assert store.copy(file, 0, other, 1 << 30, 4 * BLOCK)() == 3 * BLOCK + 3
    assert store.read(other, 1 << 30, 4 * BLOCK) == store.read(file, 0, 4 * BLOCK)
    assert store.copy(file, 3 * BLOCK, file, 0, 3)() == 3
    assert store.read(file, 0, 3) == b"end"
    failing(EINVAL, lambda: store.copy(file, 0, file, 10, 100)())


def test_clones_are_equal_where_the_file_system_can(store, file):
    other = store.create(store.root, b"g", OWNER)
    if store.url.startswith("file:"):
        with suppress(OSError):  # not every file system can
            store.clone(file, 0, other, 0, 0)
            assert store.read(other, 0, 4 * BLOCK) == store.read(file, 0, 4 * BLOCK)
        return
    store.clone(file, 0, other, 0, 0)
    assert store.read(other, 0, 4 * BLOCK) == store.read(file, 0, 4 * BLOCK)
    failing(EINVAL, store.clone, file, 3 * BLOCK, other, 0, BLOCK)


def test_extended_attributes_come_and_go(store, file):
    if not store.capabilities.xattrs:
        failing(EOPNOTSUPP, store.setxattr, file, b"a", b"1", XattrMode.EITHER)
        return
    failing(ENODATA, store.getxattr, file, b"a")
    failing(ENODATA, store.setxattr, file, b"a", b"1", XattrMode.REPLACE)
    store.setxattr(file, b"a", b"1", XattrMode.CREATE)
    failing(EEXIST, store.setxattr, file, b"a", b"2", XattrMode.CREATE)
    store.setxattr(file, b"a", b"22", XattrMode.REPLACE)
    store.setxattr(file, b"b", b"", XattrMode.EITHER)
    assert store.getxattr(file, b"a") == b"22"
    assert sorted(store.listxattr(file)) == [b"a", b"b"]
    store.removexattr(file, b"a")
    failing(ENODATA, store.removexattr, file, b"a")
    assert store.listxattr(file) == [b"b"]
    with pytest.raises(OSError, match=r".*"):
        store.setxattr(file, b"big", bytes(1 << 17), XattrMode.EITHER)


@pytest.mark.parametrize(
    "change",
    [
        lambda store, file: store.write(file, 0, b"x"),
        lambda store, file: store.setattr(file, AttributeChange(mode=0o600)),
        lambda store, file: store.setattr(file, AttributeChange(size=5)),
        lambda store, file: store.allocate(file, 0, 10),
        lambda store, file: store.deallocate(file, 0, 10),
        lambda store, file: store.setxattr(file, b"a", b"1", XattrMode.EITHER),
        lambda store, file: store.copy(file, 3 * BLOCK, file, 0, 3)(),
    ],
    ids=["write", "mode", "size", "allocate", "deallocate", "xattr", "copy"],
)
def test_every_change_counts_however_quickly_they_follow(store, file, change):
    seen = [store.getattr(file).change]
    for _ in range(20):
        change(store, file)
        seen.append(store.getattr(file).change)
        assert store.peek(store.root, b"f")[1].change == seen[-1]
    assert seen == sorted(set(seen))


def test_every_change_of_names_counts_for_the_directory(store, file):
    seen = [store.getattr(store.root).change]

    def changed() -> None:
        seen.append(store.getattr(store.root).change)

    for _ in range(5):
        store.mkdir(store.root, b"d", OWNER)
        changed()
        store.link(file, store.root, b"l")
        changed()
        store.rename(store.root, b"l", store.root, b"m")
        changed()
        store.unlink(store.root, b"m")
        changed()
        store.rmdir(store.root, b"d")
        changed()
        store.symlink(store.root, b"s", b"t", OWNER)
        changed()
        store.unlink(store.root, b"s")
        changed()
    assert seen == sorted(set(seen))
