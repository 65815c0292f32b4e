"""Images to predict, told apart from masks that lie next to them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from snellen.data.masks.pairing import folder_role, mask_ending
from snellen.data.masks.spec import MaskDataSpec


def without_masks(paths: Sequence[Path], trained_masks: Sequence[str], spec: MaskDataSpec) -> tuple[list[Path], int]:
    """The files that are not named like the masks of a run, and the number of those that are.

    trained_masks: paths of the masks that the run was trained on. Masks are recognised by data.mask_pattern if it is
    set, else by their ending (0013_mask.png) or their folder (masks/). If all files look like masks, all are returned.
    """
    endings = Counter(mask_ending(PurePosixPath(name).stem) for name in trained_masks)
    ending = endings.most_common(1)[0][0] if endings else None
    in_folders = any(folder_role(name) == "mask" for name in trained_masks[:1])
    images = [path for path in paths if not _is_mask(path, ending, in_folders, spec)]
    return (images, len(paths) - len(images)) if images else (list(paths), 0)


def _is_mask(path: Path, ending: str | None, in_folders: bool, spec: MaskDataSpec) -> bool:
    """ending: of most masks of the run. in_folders: whether they were in folders of masks."""
    if spec.image_pattern is not None and spec.mask_pattern is not None:
        return not re.fullmatch(spec.image_pattern, path.name) and bool(re.fullmatch(spec.mask_pattern, path.name))
    if ending is not None:
        return path.stem.endswith(ending)
    return in_folders and folder_role(path.as_posix()) == "mask"
