"""The house: which folder may know what. The floors themselves are contracts of import-linter, in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import snellen

SOURCE = Path(snellen.__file__).parent
KINDS = {"classification", "segmentation", "pretraining"}
TYPES = {"Recipe", "SegmentationRecipe", "PretrainingRecipe", "ImageSet", "MaskedSet", "UnlabelledSet", "is_masked"}
# The front door exports the recipes' types; data/ makes the sets of images, and says which has masks.
FREE = {"__init__.py"}
OUTSIDE = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if path.relative_to(SOURCE).parts[0] not in {"tasks", "data"} and str(path.relative_to(SOURCE)) not in FREE
)


def test_no_folder_imports_from_above() -> None:
    process = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_kind_is_known_by_name_outside_tasks(path: Path) -> None:
    assert list(_task_comparisons(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_the_search_for_names_of_kinds_finds_what_it_is_for() -> None:
    """Each of these is a branch on the kind that the test above must not let through."""
    for line in (
        "recipe.task == 'segmentation'",
        "isinstance(recipe, Recipe)",
        "{'classification': a, 'segmentation': b}[task]",
        "getattr(module, 'classification')",
        "from snellen.tasks.pretraining.recipe import x",
        "task in ('pretraining', y)",
        "is_masked(data)",
    ):
        assert list(_task_comparisons(ast.parse(line))), line


def _task_comparisons(tree: ast.Module) -> Iterator[str]:
    comparisons = {
        constant
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare | ast.match_case)
        for constant in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in TYPES:
                yield name
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            if parts[:2] == ["snellen", "tasks"] and KINDS & {*parts, *(alias.name for alias in node.names)}:
                yield node.module or ""
        # "pretraining" is also what a study calls its first step: a key there, which nothing is compared with.
        elif (
            isinstance(node, ast.Constant)
            and node.value in KINDS
            and (node.value != "pretraining" or node in comparisons)
        ):
            yield str(node.value)


def test_a_typo_in_a_recipe_is_reported_without_torch() -> None:
    program = """
import sys
from snellen.errors import UserError
from snellen.tasks.kinds import load_recipe
for recipe in ("airnet-scratch", "segment-lite", "simclr-small"):
    try:
        load_recipe(recipe, {"optimizer.lrr": 1})
    except UserError as error:
        assert "Did you mean 'optimizer.lr'" in str(error), error
    else:
        raise AssertionError("the typo was taken")
sys.exit("torch was imported" if "torch" in sys.modules else 0)
"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
