"""Any order of requests: locks against a model of bytes, seqids and slots against the rule that each request is done once."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from labemu_nfs.nfs4.state.owners import UNCOUNTED, Answer, Sequence
from labemu_nfs.nfs4.state.ranges import TO_EOF, RangeLocks
from labemu_nfs.nfs4.state.shares import downgrade, union
from labemu_nfs.nfs4.state.slots import Slot
from labemu_nfs.nfs4.status import Nfs4Error, Status

SIZE = 24
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(call, *arguments):
    """What a call returns, and the status that it raises."""
    try:
        return call(*arguments), Status.OK
    except Nfs4Error as error:
        return None, error.status


spans = some.tuples(some.integers(0, SIZE - 1), some.integers(1, SIZE)).map(
    lambda at: (at[0], min(at[0] + at[1], SIZE))
)
steps = some.lists(
    some.tuples(some.sampled_from(["read", "write", "unlock"]), some.sampled_from("abc"), spans), max_size=40
)


@quick
@given(steps)
def test_locks_are_what_a_byte_by_byte_model_says(orders):
    locks, model = RangeLocks(), [{} for _ in range(SIZE)]
    for what, owner, (start, end) in orders:
        if what == "unlock":
            locks.unlock(owner, start, end)
            for byte in model[start:end]:
                byte.pop(owner, None)
            continue
        write = what == "write"
        clash = any(other != owner and (write or held) for byte in model[start:end] for other, held in byte.items())
        found = locks.conflict(owner, start, end, write=write)
        assert (found is not None) == clash
        if found is None:
            locks.lock(owner, start, end, write=write)
            for byte in model[start:end]:
                byte[owner] = write
    for owner in "abc":
        held = locks.held_by(owner)
        assert [byte.get(owner) for byte in model] == [
            next((each.write for each in held if each.start <= at < each.end), None) for at in range(SIZE)
        ]
        for one, two in pairwise(held):
            assert one.end < two.start or (one.end == two.start and one.write != two.write), "touching locks are one"


def test_a_lock_to_the_end_of_the_file_has_no_last_byte():
    locks = RangeLocks()
    locks.lock("a", 5, TO_EOF, write=True)
    assert locks.conflict("b", TO_EOF - 1, TO_EOF, write=False).length == TO_EOF - 1
    locks.unlock("a", 10, TO_EOF)
    assert [(each.start, each.length) for each in locks] == [(5, 5)]


@quick
@given(
    some.lists(
        some.tuples(some.integers(0, 2), some.sampled_from([*UNCOUNTED, Status.OK, Status.DENIED, Status.NOENT])),
        max_size=30,
    )
)
def test_an_owners_requests_are_done_once_each(orders):
    sequence, done, last = Sequence(), 0, None
    first = True
    for ahead, status in orders:
        seqid = (0 if last is None else last) + ahead
        again, refused = outcome(sequence.begin, seqid, b"%d" % seqid)
        if refused:
            assert refused == Status.BAD_SEQID
            assert not first
            assert ahead != 1
            continue
        if again is not None:
            assert ahead == 0
            assert again.body == b"%d" % done
            continue
        assert first or ahead == 1
        if status not in UNCOUNTED:
            done, last, first = done + 1, seqid, False
        sequence.end(seqid, status, Answer(status, b"%d" % seqid, b"%d" % done))


@quick
@given(
    some.integers(0, 2**32 - 1),
    some.lists(some.tuples(some.integers(-2, 2), some.booleans(), some.booleans()), max_size=30),
)
def test_a_slots_requests_are_done_once_each(start, orders):
    slot = Slot()
    slot.seqid = start
    last, kept = start, None
    begun = False
    for ahead, keep, same in orders:
        seqid = last + ahead & 0xFFFF_FFFF
        digest = b"%d" % seqid if same else b"other"
        again, refused = outcome(slot.begin, seqid, digest)
        if refused:
            expected = Status.SEQ_MISORDERED
            if ahead == 0 and begun:
                expected = Status.RETRY_UNCACHED_REP if kept is None else Status.SEQ_FALSE_RETRY
            assert refused == expected
            continue
        if again is not None:
            assert (ahead, again) == (0, kept)
            continue
        assert ahead == 1
        begun, last = True, seqid
        kept = b"%d" % seqid if keep else None
        slot.end(kept)


@quick
@given(
    some.frozensets(some.tuples(some.integers(1, 3), some.integers(0, 3)), min_size=1),
    some.tuples(some.integers(0, 3), some.integers(0, 3)),
)
def test_a_downgrade_is_to_a_union_of_opens(opened, wanted):
    lists = [[]]
    for share in opened:
        lists += [[*each, share] for each in lists]
    possible = wanted[0] and wanted in {union(each) for each in lists}
    kept, refused = outcome(downgrade, opened, wanted)
    assert refused == (Status.OK if possible else Status.INVAL)
    assert not possible or union(kept) == wanted


def test_a_slot_that_is_worked_on_takes_nothing_else():
    slot = Slot()
    assert slot.begin(1, b"a") is None
    assert outcome(slot.begin, 1, b"a") == (None, Status.DELAY)
    assert outcome(slot.begin, 2, b"a") == (None, Status.SEQ_MISORDERED)
