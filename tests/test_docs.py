"""docs/ against the tests that it points to."""

import re

from e2e.faults import FAULTS
from manifests import ROOT

PAGE = (ROOT / "docs/faults.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    defined = set(re.findall(r"^def (test_\w+)", "".join(p.read_text() for p in (ROOT / "tests").rglob("*.py")), re.M))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 20
    assert named <= defined


def test_every_fault_that_strikes_a_workflow_is_on_the_page() -> None:
    for name in FAULTS:
        assert name in PAGE


def test_readme_points_to_the_page() -> None:
    assert "(docs/faults.md)" in (ROOT / "README.md").read_text()
