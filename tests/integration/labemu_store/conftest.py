"""One S3 server for all tests here, and for each test a wire to it and a prefix of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labctl.testing.objects import S3Server, Wire, s3_environment


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def wire(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with Wire(s3_server.port) as made:
        for name, value in s3_environment(made.endpoint).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def prefix(s3_server: S3Server, unique: str) -> str:
    return f"s3://{s3_server.bucket}/{unique}"
