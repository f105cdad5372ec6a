"""`labctl metrics`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labctl.cli import options
from labctl.cli.output import note, print_json, write
from labctl.cli.target import lab_client
from labctl.daemon.client import DaemonClient
from labctl.errors import UsageError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

app = typer.Typer(add_completion=False)

EPILOG = """Examples:

  labctl metrics                             in Prometheus's text format

  labctl metrics --listen 127.0.0.1:9464     for Prometheus to scrape, at /metrics

  labctl metrics --json | jq '.metrics[] | select(.name == "labctl_vm_cpu_seconds_total")'
"""


@app.command(epilog=EPILOG)
def metrics(
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="<address:port>", help="Serve them there, on loopback.")
    ] = None,
    lab: options.Lab = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show what hosts, VMs, disks and links have used, for Prometheus and other programs; `labctl top` is for people."""
    client = lab_client(lab, home)
    if listen is not None:
        _serve(client, *_address(listen))
    elif json:
        print_json(client.get("/v1/metrics"))
    else:
        write(_text(client).decode().rstrip("\n"))


class _Told:
    """What labd told, as a collector of prometheus_client."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def collect(self) -> Iterator[Metric]:
        """Each metric."""
        from prometheus_client.core import Metric

        for each in self._answer["metrics"]:
            metric = Metric(str(each["name"]).removesuffix("_total"), each["help"], each["type"])
            for sample in each["samples"]:
                metric.add_sample(each["name"], sample["labels"], sample["value"])
            yield metric


def _text(client: DaemonClient) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(client.get("/v1/metrics")))
    return generate_latest(registry)


def _address(text: str) -> tuple[str, int]:
    """Address and port. Raises UsageError for what is none, or is not this machine's own."""
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        raise UsageError(f"{text!r} is no address and port", hint="for example 127.0.0.1:9464 or [::1]:9464") from None
    if not address.is_loopback:
        raise UsageError(
            f"{address} is not on loopback, and metrics are served without a password",
            hint="listen at 127.0.0.1, and let a reverse proxy or ssh -L lead there",
        )
    return str(address), number


def _serve(client: DaemonClient, host: str, port: int) -> None:
    import uvicorn
    from prometheus_client import CONTENT_TYPE_LATEST
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    def show(_request: Request) -> Response:
        return Response(_text(client), media_type=CONTENT_TYPE_LATEST)

    client.get("/v1/lab")  # no lab is an error now rather than at the first scrape
    shown = f"[{host}]" if ":" in host else host
    note(f"serving http://{shown}:{port}/metrics; end with Ctrl-C")
    uvicorn.run(Starlette(routes=[Route("/metrics", show)]), host=host, port=port, log_level="warning")
