"""What a kind of task offers to commands, studies and reports, which know no task by name.

A kind is a folder with a file for each step, with the same names in every kind. `Kind` lists these files; each protocol
defines what the functions of one of them take and return. R: the kind's recipe. I: its images, as read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from snellen.engine.recipe import CommonRecipe
from snellen.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from rich.console import Console, RenderableType
    from torch import nn

    from snellen.data.copies.found import Copies
    from snellen.data.in_memory import ImageInMemory
    from snellen.data.listing import Source, SplitSet
    from snellen.data.unlabelled import UnlabelledSet
    from snellen.exporting.agreement import Agreement, MaskAgreement
    from snellen.exporting.onnx_file import OnnxFile
    from snellen.insight.proportions import Interval
    from snellen.insight.without_leaked import WithoutLeaked
    from snellen.reporting.misfits import MisfitSection
    from snellen.reporting.runs import RunView
    from snellen.reporting.shared import Picture
    from snellen.reporting.suspects import Suspects
    from snellen.reporting.template import Page
    from snellen.run.directory import RunDirectory
    from snellen.run.writer import RunWriter
    from snellen.tasks.arithmetic import Recorded
    from snellen.tasks.served import Served
    from snellen.tasks.setup import Prepared

R = TypeVar("R", bound=CommonRecipe)
R_contra = TypeVar("R_contra", bound=CommonRecipe, contravariant=True)
I = TypeVar("I")  # noqa: E741
I_contra = TypeVar("I_contra", contravariant=True)


Format = Literal["onnx", "torch"]
"""Of exported files."""

FILES = ("data", "prepare", "record", "evaluate", "predict", "check", "report", "study", "export", "serve", "share")


class Kind(Generic[R, I]):
    """One kind of task. Each file is imported when it is first used.

    task: its name in recipes. command: the one that trains it. measure: what its runs are judged by, such as "top-1".
    is_comparable: whether a study can compare its runs. recipe: the type of its recipes.
    """

    task: str
    command: Literal["train", "pretrain"]
    measure: str
    is_comparable: bool
    recipe: type[R]
    data: Data[R, I]
    prepare: Prepare[R, I]
    record: Record
    evaluate: Evaluate
    predict: Predict
    check: Check
    report: Report
    study: Study[R, I]
    export: Export
    serve: Serve
    share: Share[R]


class Data(Protocol[R, I]):
    """data.py: the images, and the recipe that suits them."""

    def recognises(self, data: Source) -> bool:
        """Whether data are of this kind, without reading images."""

    def choose(self, data: Source, overrides: Mapping[str, Any], console: Console) -> tuple[I, R]:
        """The images of `data` and a recipe for them; prints the choice and its reason."""

    def read(self, data: Source, recipe: R) -> I:
        """The images of `data`. Raises UserError, with a suggestion, if they are of another kind."""

    def read_again(self, run: RunDirectory, recipe: R) -> I:
        """The images that a run was trained on."""

    def keep_source(self, data: Source, writer: RunWriter) -> str | Path:
        """The path where a run finds `data` again; data without a path are written into the run's folder."""

    def portable(self, recipe: R) -> R:
        """The recipe with absolute paths, so that a run can be read, and resumed, from anywhere."""

    def announce(self, images: I, console: Console) -> None:
        """Prints what was read."""

    def subset(self, images: I, batch_size: int) -> I:
        """A few of the images, evenly spread, for timing."""


@dataclass(frozen=True)
class Facts:
    """What a run records of its images. samples: samples.csv. data: data.json."""

    samples: str
    data: dict[str, Any]


class Prepare(Protocol[R_contra, I_contra]):
    """prepare.py: setting a run up."""

    def prepare(
        self, path: Path, recipe: R_contra, images: I_contra, console: Console, recorded: Recorded | None
    ) -> Prepared[Any, Any]:
        """Everything that a run trains with. recorded: of the run that is resumed, None for a new one."""

    def facts(self, prepared: Any, source: str, console: Console) -> Facts:
        """What the run records of its images; prints the notes from decoding them."""

    def plain_loop(self, prepared: Any) -> Iterator[int]:
        """A plain fp32 training loop that does the same work, for benchmarks: the number of images of each step."""


class Record(Protocol):
    """record.py: the files of scored images, and how they are read."""

    @property
    def SAMPLE_COLUMNS(self) -> tuple[str, ...]:  # noqa: N802
        """Columns of samples.csv in addition to those of every run."""

    @property
    def EPOCH_COLUMNS(self) -> tuple[str, ...]:  # noqa: N802
        """Columns of epochs.csv in addition to those of every run."""

    def load_model(self, run: RunDirectory, which: str) -> nn.Module:
        """The trained network, on the CPU, in evaluation mode. which: "best" (the chosen epoch) or "last"."""

    def read_predictions(self, run: RunDirectory, part: str) -> Any:
        """The kept weights' predictions for "validation" or "test"; a dataclass with `rows`."""

    def prediction_table(self, run: RunDirectory, part: str) -> pd.DataFrame:
        """The same as a readable table: predictions/PART.csv."""

    def by_epoch(self, run: RunDirectory) -> NDArray[Any]:
        """(epochs, N, …) the results of each validation image after each scored epoch."""

    def read_snapshots(self, run: RunDirectory) -> Sequence[Any]:
        """The snapshots of a few validation images after several epochs."""


class Evaluated(Protocol):
    """Figures of a trained run on other images."""

    def render(self) -> RenderableType:
        """As text for people."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""


class Evaluate(Protocol):
    """evaluate.py: a trained run on images that it was not scored on before."""

    def evaluate(
        self, run: RunDirectory, data: Source, overrides: Mapping[str, Any] | None, console: Console
    ) -> Evaluated:
        """Scores the chosen epoch on labelled images. overrides: data.* fields for these."""

    def score_test(
        self, run: RunDirectory, samples: pd.DataFrame, console: Console
    ) -> tuple[dict[str, NDArray[Any]], Sequence[str]]:
        """The arrays of predictions/test.npz but for its epoch, and the images that cannot be read, with the reason."""


@dataclass(frozen=True)
class Options:
    """The options of `predict`; None or False if not given. See `snellen.predict`."""

    top_k: int | None = None
    probabilities: bool = False
    overlays: bool = False
    tile: int | None = None
    overlap: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False

    def refuse(self, names: Sequence[str], why: str) -> None:
        """Raises UserError if one of these options was given."""
        asked = [name for name in names if getattr(self, name) not in (None, False)]
        if asked:
            raise UserError(f"{why} {', '.join(asked)}.")


@dataclass(frozen=True)
class Predicted:
    """path: the table, or the folder of files with their table. predicted, unreadable: numbers of images."""

    path: Path
    predicted: int
    unreadable: int

    def table(self) -> pd.DataFrame:
        """What was written, one row per image: the CSV file, or masks.csv in the folder of masks."""
        import pandas as pd

        masks = self.path.is_dir()
        table = pd.read_csv(self.path / "masks.csv" if masks else self.path, dtype=str, keep_default_na=False)
        texts = {"path", "mask", "error"}
        for column in table.columns:
            if column not in texts and (masks or column.startswith("probability")):
                table[column] = pd.to_numeric(table[column])
        return table


class Predict(Protocol):
    """predict.py: the predictions of a trained run for images without labels."""

    def predict(
        self,
        run: RunDirectory,
        images: Sequence[Path | ImageInMemory],
        out: Path | None,
        options: Options,
        console: Console,
    ) -> Predicted:
        """Writes it to `out`."""

    def predicted_rows(
        self, run: RunDirectory, images: Sequence[Path | ImageInMemory], console: Console
    ) -> tuple[list[str], Mapping[Path | ImageInMemory, Sequence[object]]]:
        """The names of the columns, and the cells of each predicted image. Writes no file."""


class Checked(Protocol):
    """The results of checking a source of images."""

    @property
    def images(self) -> SplitSet[Any, Any] | UnlabelledSet:
        """The index."""

    @property
    def copies(self) -> Copies:
        """Images that are copies of others."""

    @property
    def bits(self) -> int | None:
        """The depth of 16-bit images."""

    @property
    def suspects(self) -> Suspects | None:
        """Labels that are probably wrong; None if they were not checked."""

    def render(self) -> RenderableType:
        """As text for people."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""

    def mask_section(self) -> MisfitSection | None:
        """How masks fit their images, for a page; None for images without masks."""

    def split_table(self) -> list[tuple[str, str, str, str]]:
        """(path, class, split, group) of each image, in a split that no copies straddle.

        Raises UserError for images that a table cannot name.
        """


class Check(Protocol):
    """check.py: a check of a source of images, before any training."""

    @property
    def FIELDS(self) -> frozenset[str]:  # noqa: N802
        """Fields of a recipe that only this kind has: whoever sets one has such images."""

    def check(
        self,
        data: Source,
        overrides: Mapping[str, Any],
        out: Path | None,
        overlays: int,
        console: Console,
        why: str,
        features: str | Path | None,
    ) -> Checked:
        """Reads and decodes every image. out: a folder for that many overlays. why: the reason for this kind.

        features: a run or a backbone whose features tell which labels are suspect; None: labels are not checked.
        Raises UserError for features if images have no labels of their own.
        """


class Report(Protocol):
    """report/: the page of a run, or of several."""

    def view(self, label: str, run: RunDirectory, number: int) -> RunView:
        """A run's figures. number: of the runs on the page, from 0."""

    def page(self, runs: Sequence[RunDirectory]) -> Page:
        """The page of some runs of this kind, each figure computed."""


class Study(Protocol[R, I_contra]):
    """study.py: what a study needs from the kind that it compares."""

    def build_network(self, recipe: R, images: I_contra) -> None:
        """Builds the network once, with its initial weights, to find out whether that works."""

    def timed(self, recipe: R) -> R:
        """The recipe whose steps are timed: with the passes through the network that its run makes."""

    def judge(self, runs: Sequence[RunDirectory], left_out: NDArray[np.bool_] | None = None) -> Judged:
        """The values of runs that differ in their seed. left_out: (N,) scored images that do not count."""

    def score_without_leaked(
        self, runs: Sequence[RunDirectory], leaked: NDArray[np.bool_], interval: Interval | None
    ) -> WithoutLeaked | None:
        """The mean measure of runs that differ in their seed, without (N,) `leaked` ones of the scored images.

        interval: of that mean, from its own method. None if no image is leaked, or all are.
        """

    def mistake(self, runs: Sequence[RunDirectory], row: int) -> Picture:
        """A picture of a scored image that most of these runs get wrong, with its class and their prediction."""

    def sections(self, views: Sequence[RunView], most: int) -> Sections:
        """The part of the study's page on one run for each setting; pictures of only the first `most`."""


@dataclass(frozen=True)
class ExportOptions:
    """The options of `export`. See `snellen.export`."""

    format: Format = "onnx"
    int8: bool = False
    force: bool = False


@dataclass(frozen=True)
class Exported:
    """path: the file. agreement: of its fp32 form with the run. int8: what that changes, as text; None for fp32.

    notes: what else to know of the file.
    """

    path: Path
    agreement: Agreement | MaskAgreement
    int8: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(
            [str(self.path), f"compared with the run: {self.agreement}", *filter(None, [self.int8]), *self.notes]
        )


class Export(Protocol):
    """export.py: a trained run as a file for other programs, and such a file in place of the run."""

    def export(self, run: RunDirectory, out: Path, options: ExportOptions, console: Console) -> Exported:
        """Writes the file, if it gives the run's answers. Raises UserError otherwise."""

    def predict_file(
        self,
        file: OnnxFile,
        images: Sequence[Path | ImageInMemory],
        out: Path | None,
        options: Options,
        console: Console,
    ) -> Predicted:
        """As Predict.predict, with the network of a file."""

    def evaluate_file(
        self, file: OnnxFile, data: Source, overrides: Mapping[str, Any] | None, console: Console
    ) -> Evaluated:
        """As Evaluate.evaluate, with the network of a file."""


class Serve(Protocol):
    """serve.py: a trained run, or a file in place of it, that answers requests."""

    def serve_run(self, run: RunDirectory) -> Served:
        """The chosen epoch's network of a run, with the run's own arithmetic."""

    def serve_file(self, file: OnnxFile) -> Served:
        """The network of a file."""


@dataclass(frozen=True)
class Native:
    """A trained network in timm's own form, on the CPU, in evaluation mode. options: that build it, beside its name."""

    network: nn.Module
    options: dict[str, Any]


@dataclass(frozen=True)
class Shared:
    """What others are given of a run.

    network: of the chosen epoch, on the CPU, in evaluation mode. native: the same for timm, None if timm has no such
    network. backbone: its name. evaluation: how its images are prepared, for JSON. weights: the source of its initial
    weights and their licence, in words.
    """

    network: nn.Module
    native: Native | None
    backbone: str
    evaluation: dict[str, Any]
    weights: tuple[str, str]


@dataclass(frozen=True)
class Figure:
    """A figure on a model's card. kind: its name where models are compared. interval: 95%, None if it has none."""

    name: str
    kind: str
    value: float
    interval: Interval | None


class Share(Protocol[R_contra]):
    """share.py: a trained run as others load it."""

    @property
    def PIPELINE(self) -> str:  # noqa: N802
        """What its networks do, by the name that model hubs have for it."""

    @property
    def HAS_ONNX(self) -> bool:  # noqa: N802
        """Whether its runs can be exported."""

    def shared(self, run: RunDirectory) -> Shared:
        """What others are given of a finished run."""

    def empty_network(self, recipe: R_contra, classes: int, native: bool) -> nn.Module:
        """The network whose weights `shared` gives, before they are loaded, on the CPU. native: in timm's form."""

    def figures(self, view: Any) -> list[Figure]:
        """The figures of the run's card, the one that it is judged by first; empty without scored images."""


@dataclass(frozen=True)
class Judged:
    """Runs that differ in their seed, image by image.

    values: (S, U) of each seed and image (or group of images); a seed's mean is its measure. correct: (S, N) which
    scored images each run gets right; None for masks. images: N. groups: (N,), None if images are not grouped.
    not_learnt: the reason, for each run that has not learnt. kept: mean of the kept weights' own measure if epochs were
    chosen by it (values are then cross-fitted), else None. For masks: over_classes: those that the mIoU covers, by
    name, if some are in too few images. too_few: why there is no interval. of_one: for a single run, the
    interval on its page. degrees: of freedom of its images.
    """

    values: NDArray[np.float64]
    correct: NDArray[np.bool_] | None
    images: int
    groups: NDArray[np.int64] | None = None
    not_learnt: tuple[str, ...] = ()
    kept: float | None = None
    over_classes: str | None = None
    too_few: str | None = None
    of_one: Interval | None = None
    degrees: float | None = None


@dataclass(frozen=True)
class Sections:
    """The part of a study's page that depends on the kind. template, title: of the part that shows images.
    examples: template of the training images.

    variables: of the template; styles, scripts: files that it needs in addition to those of every page.
    """

    template: str
    title: str
    examples: str
    styles: tuple[str, ...]
    scripts: tuple[str, ...]
    variables: dict[str, Any]
