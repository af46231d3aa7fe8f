"""A power cut after a run's end, or in its middle, leaves no manifest that vouches for what isn't on disk."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from conftest import Pipeline, csv_text, row
from daskjobs.files.digest import Output
from daskjobs.files.documents import from_json
from daskjobs.stages import STAGES


class Disk:
    """What a disk has been made to hold: files by inode, size and time of change, and the names in folders."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.files, self.names, self.manifests = set[tuple[int, int, int]](), set[tuple[int, str]](), list[Path]()
        self.fsync, self.replace = os.fsync, os.replace
        patch.setattr(os, "fsync", self.sync)
        patch.setattr(os, "replace", self.rename)

    def sync(self, descriptor: int) -> None:
        self.fsync(descriptor)
        found = os.fstat(descriptor)
        self.files.add((found.st_ino, found.st_size, found.st_mtime_ns))
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            self.names |= {(found.st_ino, name) for name in os.listdir(descriptor)}

    def has(self, path: Path) -> bool:
        """Tell whether a file, as it is now, is on the disk."""
        found = path.stat()
        return (found.st_ino, found.st_size, found.st_mtime_ns) in self.files

    def finds(self, path: Path) -> bool:
        """Tell whether the disk has the name of a file or folder."""
        return (path.parent.stat().st_ino, path.name) in self.names

    def rename(self, part: Any, path: Any) -> None:
        if Path(path).name == "manifest.json":
            root = Path(path).parent.parent
            assert self.has(Path(part)), path
            for name in json.loads(Path(part).read_text())["outputs"]:
                assert self.has(root / name), f"{path} vouches for {name}, whose bytes may be lost"
                for each in [root / name, *(root / name).parents]:
                    assert each == root or self.finds(each), f"{path} vouches for {name}, whose name may be lost"
                    if each == root:
                        break
            self.manifests.append(Path(path))
        self.replace(part, path)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at open files in /proc, which Linux has")
def test_what_a_manifest_vouches_for_is_on_disk_before_the_manifest_has_its_name(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = tmp_path / "orders.csv"
    orders.write_text(csv_text(row(), row(price="x"), row(order_id="A"), row(order_id="A")).decode(), "utf-16")
    disk = Disk(monkeypatch)
    pipeline(where="a/b/run")
    pipeline(where="a/b/run", input=str(orders), encoding="utf-16")
    assert len(disk.manifests) == 11  # twice six stages with a manifest, generate once
    assert all(map(disk.finds, disk.manifests))
    made = tmp_path / "a/b/run"
    assert disk.finds(made / "daskjobs-run.json")
    assert all(map(disk.finds, (made, made.parent, made.parent.parent)))
    assert disk.has(made / "cleanup/receipt.json")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """An ext4 file system in a file."""
    if sys.platform != "linux" or os.geteuid() or not which("mkfs.ext4"):
        pytest.skip("only root can mount a file system, and ext4 is Linux's")
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=False)


@pytest.mark.slow
def test_finished_run_is_whole_when_the_power_is_cut_a_second_later(mounted: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "daskjobs", "run", "--run", str(mounted / "run"), "--dashboard", "127.0.0.1:0"]
    subprocess.run([*command, "--rows", "20000"], check=True, capture_output=True, timeout=100)
    time.sleep(float(os.environ.get("SECONDS_TO_POWER_CUT", "1")))
    subprocess.run(["cp", tmp_path / "image", tmp_path / "cut"], check=True)  # what has reached the disk, and no more
    after = tmp_path / "after"
    after.mkdir()
    subprocess.run(["mount", "-o", "loop", tmp_path / "cut", after], check=True)
    try:
        run, vouched = after / "run", dict[str, Any]()
        for name in STAGES:
            if name != "cleanup":
                vouched |= json.loads((run / name / "manifest.json").read_text())["outputs"]
        assert len(vouched) > 40
        for name, said in vouched.items():
            assert Output.of((run / name).read_bytes()) == from_json(said, Output), name
        assert json.loads((run / "cleanup/receipt.json").read_text())["remaining"] == []
        assert json.loads((run / "daskjobs-run.json").read_text())["daskjobs"]
    finally:
        subprocess.run(["umount", after], check=True)
