"""What a source of images holds, before any training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from snellen.data.folders import UnlabelledError
from snellen.data.given import check_source
from snellen.files import as_path
from snellen.recipe.load import dotted
from snellen.tasks.kind import Checked
from snellen.tasks.kinds import kind_of_data, kinds_of

if TYPE_CHECKING:
    from snellen.data.listing import Source


def check(
    data: Source,
    *,
    out: str | Path | None = None,
    overlays: int = 12,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = False,
) -> Checked:
    """Reads and decodes every image of `data`, as training would; of images with masks, the masks too.

    data: as in `train`. Images that look unlabelled, and those that a .txt file lists, are checked as `pretrain` would
    take them. out: a folder for drawings of masks over their images, `overlays` of them. overrides: recipe fields such
    as {"data.group": …}. quiet: show no progress. Raises UserError where training would, except for files that cannot
    be used, which are listed.
    """
    console = console or Console(stderr=True, quiet=quiet)
    data, fields = check_source(data), dotted(overrides, {}, [])
    folder = None if out is None else as_path(out, "out")
    try:
        return kind_of_data(data, fields).check.check(data, fields, folder, overlays, console, "")
    except UnlabelledError as error:
        unlabelled = kinds_of("pretrain")[0]
        return unlabelled.check.check(data, fields, folder, overlays, console, str(error))
