"""The package as people install it: a wheel, in an environment of its own, with its command."""

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from manifests import ROOT


def test_wheel_has_all_that_its_command_needs(tmp_path: Path) -> None:
    source, environment = tmp_path / "source", tmp_path / "environment"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith("daskjobs/") or name in ("pyproject.toml", "README.md", "LICENSE"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run([*pip, "wheel", *options, str(source)], check=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {name for name in listed.split("\0") if name.startswith("daskjobs/")}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=60)
    python = environment / "bin/python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    # The libraries of this environment, and not its own daskjobs: that one is found by a .pth file, which isn't read.
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    where = subprocess.run(
        [python, "-c", "import daskjobs; print(daskjobs.__file__)"], capture_output=True, cwd=tmp_path
    )
    assert Path(where.stdout.decode().strip()) == packages / "daskjobs/__init__.py"
    command = [environment / "bin/daskjobs", "run", "--rows", "100", "--run", "run", "--dashboard", "127.0.0.1:0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/report/quality.json").read_text())["rows"]["in"] == 100
    assert "<html" in (tmp_path / "run/report/report.html").read_text()
