import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskjobs.orders import COLUMNS
from daskjobs.run import Manifest, Run
from daskjobs.settings import Settings
from daskjobs.stages import STAGES, run_stage

GOOD = dict(
    order_id="A1",
    user_id="U1",
    region="north",
    product="lamp",
    quantity="2",
    price="10.50",
    total_amount="21.00",
    payment_mode="card",
    status="success",
    timestamp="2025-03-01 12:00:00",
)

Pipeline = Callable[..., dict[str, Manifest]]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def row(**values: str) -> str:
    """One good order as CSV text, with some fields changed."""
    return ",".join({**GOOD, **values}.values())


def csv_text(*rows: str, header: str = ",".join(COLUMNS)) -> bytes:
    return ("\n".join([header, *rows]) + "\n").encode()


@pytest.fixture
def orders_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a CSV file of the given rows."""

    def write(*rows: str, name: str = "mine.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(csv_text(*rows))
        return path

    return write


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Run all stages, or those named, in this process; return their manifests."""

    def run(*names: str, where: str = "run", **settings: Any) -> dict[str, Manifest]:
        run = Run(Settings(**{"run": str(tmp_path / where), "rows": 500, "dashboard": "127.0.0.1:0", **settings}))
        return {name: run_stage(name, run) for name in names or STAGES}

    return run


@pytest.fixture
def daskjobs(tmp_path: Path) -> Command:
    """Run the command line as a user would, in a directory of its own."""

    def call(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DASKJOBS_")}
        command = [sys.executable, "-m", "daskjobs", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=clean | environment, capture_output=True, text=True, timeout=100, check=False
        )

    return call
