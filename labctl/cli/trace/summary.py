"""`labctl trace summary`."""

from __future__ import annotations

import typer

from labctl.cli import options
from labctl.cli.output import print_json, print_table, write
from labctl.cli.trace import choosing, rows
from labctl.cli.trace.list import File
from labctl.trace.reader import Trace
from labctl.trace.reports import words
from labctl.trace.reports.summary import Summary

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl trace summary day.pcapng

  labctl trace summary day.pcapng --vm web1 --json
"""

_PROBLEMS = 20
"""Kinds of problems that are shown."""


@app.command(epilog=EPILOG)
def summary(
    file: File,
    host: choosing.Host = None,
    vm: choosing.Vm = None,
    datastore: choosing.Datastore = None,
    op: choosing.Op = None,
    slower: choosing.Slower = None,
    failed: choosing.Failed = False,
    everything: choosing.Everything = False,
    json: options.Json = False,
) -> None:
    """Add a capture up: counts, bytes, queue depth, latencies and errors by operation, host, VM and datastore."""
    meant = choosing.chosen(host, vm, datastore, op, slower, failed=failed, everything=everything)
    trace, total = Trace(file), Summary()
    trace.add_up(total, meant)
    if json:
        problems = [{"message": each.message, "frame": each.frame, "rule": each.rule} for each in trace.problems]
        print_json(
            {**total.to_json(), "packets": trace.packets, "problems": problems, "more_problems": trace.more_problems}
        )
        return
    write(f"{total.count} commands in {trace.packets} packets, {total.seconds:.3f} s")
    write("")
    _operations(total)
    _errors(total)
    _slowest(total)
    _violations(trace)


def _operations(total: Summary) -> None:
    print_table(
        ("protocol", "operation", "host", "vm", "datastore", "count", "sent", "received", "depth", "p50", "p95", "p99", "max", "retrans"),
        [
            (
                *(word or "-" for word in key),
                str(row.count),
                words.size(row.sent),
                words.size(row.received),
                f"{row.depth / row.count:.1f}/{row.deepest}",
                words.duration(row.latency.percentile(0.50)),
                words.duration(row.latency.percentile(0.95)),
                words.duration(row.latency.percentile(0.99)),
                words.duration(row.latency.largest if row.latency.count else None),
                str(row.retransmissions),
            )
            for key, row in total.sorted_rows()
        ],
    )  # fmt: skip


def _errors(total: Summary) -> None:
    failures = [
        (str(count), key[1], key[2] or "-", key[3] or "-", status)
        for key, row in total.sorted_rows()
        for status, count in row.errors.most_common()
    ]
    if failures:
        write("\nErrors")
        print_table(("count", "operation", "host", "vm", "status"), failures)


def _slowest(total: Summary) -> None:
    if total.slowest:
        write("\nSlowest")
        write(rows.heading())
        for command in total.slowest:
            write(rows.row(command))


def _violations(trace: Trace) -> None:
    kinds: dict[tuple[str, str], tuple[int, int | None]] = {}
    for problem in trace.problems:
        key = problem.rule, problem.message
        count, frame = kinds.get(key, (0, problem.frame))
        kinds[key] = count + 1, frame
    if not kinds:
        return
    write("\nProtocol violations, and faults of the file")
    shown = list(kinds.items())[:_PROBLEMS]
    print_table(
        ("count", "first frame", "rule", "what"),
        [(str(count), str(frame or "-"), rule or "-", message) for (rule, message), (count, frame) in shown],
    )
    rest = len(trace.problems) + trace.more_problems - sum(count for _, (count, _) in shown)
    if rest:
        write(f"and {rest} more; --json has them")
