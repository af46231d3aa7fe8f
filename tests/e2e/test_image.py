"""The image that the pods run: its bill of materials."""

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
