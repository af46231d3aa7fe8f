import json
import signal
import subprocess
import sys
from asyncio import gather
from pathlib import Path
from typing import Any

from fsspec.asyn import sync

from conftest import Pipeline
from daskjobs.files.storage import Storage, filesystem
from daskjobs.stages import new_context, run_stage
from daskjobs.stages.run_settings import Settings

# Writes more of an object than is held in memory, waits until its upload has begun, and is killed.
KILLED = """
import os, signal, sys
from daskjobs.files.storage import Storage
with Storage(sys.argv[1]).write("orders/orders.csv") as file:
    for _ in range(2):
        file.write(bytes(51 << 20))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_half_written_files_are_gone_and_named_in_the_receipt(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline()
    left = tmp_path / "run/clean/summary.parquet.daskjobs-part-ab_0129z"
    left.write_bytes(b"half")
    pipeline("cleanup")
    assert not left.exists()
    receipt = json.loads((tmp_path / "run/cleanup/receipt.json").read_text())
    assert receipt["removed_files"] == ["clean/summary.parquet.daskjobs-part-ab_0129z"]
    assert receipt["remaining"] == []


def test_receipt_is_written_when_nothing_ever_ran(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("cleanup")
    assert json.loads((tmp_path / "run/cleanup/receipt.json").read_text())["removed_files"] == []


def uploads(s3: str, *keys: str) -> list[str]:
    """Begin an upload for each of the keys in the bucket; return the keys of the unfinished ones, at most 1,000."""
    fs, bucket = filesystem(s3)

    async def begin() -> None:
        await gather(*(fs._call_s3("create_multipart_upload", Bucket=bucket, Key=key) for key in keys))

    sync(fs.loop, begin)
    return [each["Key"] for each in fs.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads", [])]


def cleaned(run: str) -> dict[str, Any]:
    run_stage("cleanup", new_context(Settings.of(run_uri=run)))
    receipt: dict[str, Any] = json.loads(Storage(run).read("cleanup/receipt.json"))
    return receipt


def test_upload_of_a_killed_process_is_aborted_and_others_stay(s3: str, tmp_path: Path) -> None:
    run = tmp_path.name
    theirs = [f"{run}-2/orders/orders.csv", f"{run}/photos.tar", f"above/{run}/orders/orders.csv"]
    before = uploads(s3, *theirs)
    done = subprocess.run([sys.executable, "-c", KILLED, f"{s3}/{run}"], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(uploads(s3)) == sorted([*before, f"{run}/orders/orders.csv"])
    assert cleaned(f"{s3}/{run}")["aborted_uploads"] == ["orders/orders.csv"]
    assert sorted(uploads(s3)) == sorted(before)
    assert cleaned(f"{s3}/{run}")["aborted_uploads"] == []


def test_uploads_are_aborted_when_there_are_more_than_s3_lists_at_once(s3: str, tmp_path: Path) -> None:
    before = uploads(s3)
    uploads(s3, *(f"{tmp_path.name}/validate/part-{number:05}/paid.parquet" for number in range(1001)))
    assert len(cleaned(f"{s3}/{tmp_path.name}")["aborted_uploads"]) == 1001
    assert sorted(uploads(s3)) == sorted(before)
