"""What `import snellen` offers: each name once, documented, and called by its public name."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import snellen


@pytest.mark.parametrize("name", snellen.__all__)
def test_every_name_is_documented_and_called_by_its_public_name(name: str) -> None:
    value = getattr(snellen, name)
    assert inspect.getdoc(value)
    assert value.__module__ == "snellen"
    assert value.__name__ == value.__qualname__ == name
    assert pickle.loads(pickle.dumps(value)) is value
    assert inspect.getmodule(value) is snellen
    if inspect.isfunction(value):
        assert inspect.getsource(value).startswith(f"def {name}(")
    else:
        typing.get_type_hints(value)  # raises NameError if an annotation no longer resolves


def test_what_a_function_returns_and_raises_is_named_publicly_too() -> None:
    script = "import snellen; snellen.load('no such folder')"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "\nsnellen.UserError: no such folder" in process.stderr


def test_a_pickle_opens_in_a_process_that_has_imported_nothing(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(pickle.dumps((snellen.Recipe(epochs=3), snellen.train)))
    script = (
        "import pickle, sys; recipe, train = pickle.load(open(sys.argv[1], 'rb'));"
        "print(recipe.epochs, train.__module__, train.__name__)"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "pickle")], capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == ["3", "snellen", "train"]


def test_a_recipe_can_be_extended() -> None:
    extended = type("Extended", (snellen.Recipe,), {"__annotations__": {"note": str}, "note": "mine"})
    assert extended.model_validate({"epochs": 2}).model_dump().items() >= {"epochs": 2, "note": "mine"}.items()


def test_type_checkers_see_the_names_of_the_table() -> None:
    module = ast.parse(Path(snellen.__file__).read_text(encoding="utf-8"))
    block = next(node for node in module.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    homes = {
        alias.name: str(node.module).removeprefix("snellen.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    table = next(node for node in module.body if isinstance(node, ast.Assign) and ast.unparse(node)[:6] == "_HOMES")
    assert homes == ast.literal_eval(table.value)
    assert sorted(homes) == snellen.__all__
