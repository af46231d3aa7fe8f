"""The table of stages against the modules, the commands, the manifests and the docs."""

import inspect
from pathlib import Path

from click.testing import CliRunner

from conftest import Pipeline
from daskjobs.cli import main
from daskjobs.stages import STAGES
from manifests import ROOT


def test_stage_is_the_module_the_command_and_the_row_of_its_name() -> None:
    for name, stage in STAGES.items():
        assert (stage.name, stage.execute.__name__) == (name, "execute")
        assert Path(inspect.getfile(stage.execute)) == ROOT / f"daskjobs/stages/{name}.py"
        shown = CliRunner().invoke(main.main, [name, "--help"], terminal_width=200).output
        assert f"\n  {stage.summary} " in shown
        assert f"\n  {name} " in CliRunner().invoke(main.main, ["--help"]).output


def test_stages_stand_in_the_order_in_which_they_can_run() -> None:
    done = set[str]()
    for name, stage in STAGES.items():
        assert set(stage.needs) <= done, name
        done.add(name)


def test_stage_needs_the_manifests_that_its_own_names_as_inputs(pipeline: Pipeline) -> None:
    for name, manifest in pipeline().items():
        read = {each.removesuffix("/manifest.json") for each in manifest.inputs if each.endswith("/manifest.json")}
        assert read == set(STAGES[name].needs), name


def test_artifacts_are_files_of_their_stage() -> None:
    for stage in STAGES.values():
        assert set(stage.artifacts) <= set(stage.files)
