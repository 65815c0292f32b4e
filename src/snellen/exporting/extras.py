"""The libraries that exporting and exported files need, which are not installed with snellen itself."""

from __future__ import annotations

from importlib.util import find_spec

from snellen.errors import UserError


def require(*modules: str, what: str) -> None:
    """Raises UserError, with the command that installs them, if one of these is missing. what: needs them."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UserError(f"{what} needs {' and '.join(missing)}: pip install 'snellen[export]'")
