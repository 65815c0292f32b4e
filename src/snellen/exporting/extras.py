"""The libraries that exporting and exported files need, which are not installed with snellen itself."""

from __future__ import annotations

from importlib.util import find_spec

from snellen.errors import UserError


def require(*modules: str, what: str, extra: str = "export") -> None:
    """Raises UserError, with the command that installs them, if one is missing. what: needs them. extra: has them."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UserError(f"{what} needs {' and '.join(missing)}: pip install 'snellen[{extra}]'")
