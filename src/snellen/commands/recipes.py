"""Lists and prints the shipped recipes."""

from __future__ import annotations

from rich.table import Table

from snellen.errors import UserError
from snellen.recipe.text import RECIPES, headline
from snellen.words import did_you_mean


def recipes() -> list[dict[str, str]]:
    """Name and headline of each shipped recipe."""
    return [{"name": name, "headline": headline(RECIPES.text(name))} for name in RECIPES.names()]


def recipes_table() -> Table:
    """One line for each shipped recipe."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for recipe in recipes():
        table.add_row(recipe["name"], recipe["headline"])
    return table


def recipe_text(name: str) -> str:
    """A shipped recipe with its comments. Raises UserError, with the nearest name, for an unknown one."""
    names = RECIPES.names()
    if name not in names:
        hint = did_you_mean(name, names) or f" Shipped: {', '.join(names)}."
        raise UserError(f"recipe '{name}': no such recipe.{hint}")
    return RECIPES.text(name)
