"""The image that the pods run: its bill of materials, its user, its bytecode."""

import json

import pytest
from packaging.utils import canonicalize_name

from daskjobs import __version__
from e2e.conftest import Namespace
from manifests import locked_in

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200)]


def test_bill_of_materials_is_valid_and_names_what_is_locked_and_nothing_else(namespace: Namespace) -> None:
    schema = pytest.importorskip("cyclonedx.schema", reason="pip install cyclonedx-python-lib to run this test")
    validation = pytest.importorskip("cyclonedx.validation.json")
    code, text = namespace.ended(namespace.pod("cat /opt/daskjobs/sbom.cdx.json"))
    assert code == 0, text
    bill = json.loads(text)
    validator = validation.JsonStrictValidator(schema.SchemaVersion.from_version(bill["specVersion"]))
    assert validator.validate_str(text) is None
    named = {canonicalize_name(each["name"]): each["version"] for each in bill["components"]}
    assert len(named) == len(bill["components"])
    assert named == {"daskjobs": __version__, **locked_in("image/requirements.lock")}
    depends = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert any(each.startswith("dask==") for each in depends[f"daskjobs=={__version__}"])


LOOK = """
find / -xdev -type f -perm /6000 2>/dev/null
test -O "$PIP_PREFIX" || echo "$PIP_PREFIX" is not the users own
python -c "import os, sysconfig; print(sysconfig.get_path('purelib', vars={'base': os.environ['PIP_PREFIX']}))" | \\
  cmp - /opt/daskjobs/lib/python3*/site-packages/libraries.pth
pip list 2>/dev/null | grep -q '^daskjobs ' || echo pip is not that of daskjobs
"""


def test_image_has_no_program_that_changes_its_user_and_pip_is_that_of_daskjobs(namespace: Namespace) -> None:
    """What `pip install` brings to an image that begins with this one is where the Python of daskjobs looks."""
    code, said = namespace.ended(namespace.pod(LOOK))
    assert (code, said) == (0, "")


COMPILED = """
import os, sys
import daskjobs.cli.main, daskjobs.orders.validation.partition, distributed.cli.dask_worker, kr8s, s3fs
print([name for name, module in sys.modules.items() if not os.path.exists(getattr(module, "__cached__", None) or "/")])
"""


def test_no_pod_compiles_what_it_imports_because_the_image_has_the_bytecode(namespace: Namespace) -> None:
    """That of the standard library, too, which python:3.13-slim comes without; a pod could not even keep it."""
    code, said = namespace.ended(namespace.pod('python -c "$SCRIPT"', SCRIPT=COMPILED))
    assert (code, said) == (0, "[]\n")
