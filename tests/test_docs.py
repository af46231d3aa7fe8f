"""docs/ against the tests that it points to."""

import re

import pytest

from e2e.faults import FAULTS
from manifests import ROOT

PAGE = (ROOT / "docs/faults.md").read_text()
SECURITY = (ROOT / "SECURITY.md").read_text()


@pytest.mark.parametrize(("page", "least"), [(PAGE, 20), (SECURITY, 20)])
def test_every_test_that_a_page_names_exists(page: str, least: int) -> None:
    defined = set(re.findall(r"^def (test_\w+)", "".join(p.read_text() for p in (ROOT / "tests").rglob("*.py")), re.M))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > least
    assert named <= defined


def test_every_fault_that_strikes_a_workflow_is_on_the_page() -> None:
    for name in FAULTS:
        assert name in PAGE


def test_readme_points_to_the_pages() -> None:
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text()
    assert "(docs/faults.md)" in (ROOT / "README.md").read_text()
