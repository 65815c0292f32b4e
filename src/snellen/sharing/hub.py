"""Upload to the Hugging Face hub, by its own client and with the login that it finds."""

from __future__ import annotations

from pathlib import Path

from snellen.errors import UserError
from snellen.words import first_line

PREFIX = "hf:"


def repository(to: str) -> str | None:
    """The OWNER/NAME in hf:OWNER/NAME; None for a folder. Raises UserError for anything else after hf:."""
    if not to.startswith(PREFIX):
        return None
    name = to.removeprefix(PREFIX)
    owner, _, model = name.partition("/")
    if not owner or not model or "/" in model:
        raise UserError(f"to={to}: expected hf:OWNER/NAME, or a folder.")
    return name


def upload(folder: Path, name: str, private: bool, force: bool) -> str:
    """Sends a folder's files to a repository, which is made if it does not exist. Returns its address.

    force: also to one that exists. Raises UserError with the client's reason if it cannot.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=force)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Trained and written by snellen")
    except Exception as error:  # the client raises what its connection and the hub's answers make of it
        raise UserError(f"hf:{name}: not uploaded: {first_line(error)}") from error
    return str(address)
