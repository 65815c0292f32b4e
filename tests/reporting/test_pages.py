"""Pages as a reader's browser parses them: their figures, colours and links are right, and nothing is left unfilled."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.reporting.fake_masks import MaskPlan, Scenes, draw_scenes, write_mask_run
from tests.reporting.fake_runs import Images, Plan, write_images, write_pretraining_run, write_run
from tests.reporting.test_masks import scenes as scenes

from snellen import Run, report
from snellen.insight.classification import figures
from snellen.insight.proportions import Interval
from snellen.insight.segmentation import mask_figures
from snellen.study.directory import StudyDirectory, write_study
from snellen.study.plan import Plan as StudyPlan
from snellen.study.plan import PlannedRun
from snellen.study.report import build_study_report
from snellen.study.results import read_results
from snellen.study.spec import StudySpec
from snellen.tasks.classification.report.collect import class_predictions, class_values
from snellen.tasks.segmentation.report.collect import mask_predictions, mask_values

_VOID = {"meta", "img", "input", "br", "hr", "link"}  # have no end tag
_HIDDEN = {"script", "style"}
_UNFILLED = re.compile(r"\{\{|\}\}|\{%|\bNone\b|\bnan\b|\binf\b|\bundefined\b")
_PAGES = ["one", "two", "four", "new", "stopped", "grouped", "one class", "other images", "pretraining"]
_PAGES += ["masks", "two masks", "new masks", "few masks", "study", "study of shares", "study of masks"]


@dataclass(eq=False, repr=False)
class Element:
    """An element of a page. parts: its elements and texts, in order."""

    tag: str
    attributes: dict[str, str]
    parts: list[Element | str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    def __iter__(self) -> Iterator[Element]:
        """The element and all below it."""
        yield self
        for part in self.parts:
            if isinstance(part, Element):
                yield from part

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements below it with this tag and these attributes; `kind` is one of its classes."""
        kind = attributes.pop("kind", None)
        return [
            element
            for element in self
            if element.tag == tag
            and (kind is None or kind in element.classes)
            and all(element.attributes.get(name) == value for name, value in attributes.items())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        (element,) = self.all(tag, **attributes)
        return element

    @property
    def text(self) -> str:
        """What a reader reads, white space collapsed."""
        return re.sub(r"\s+", " ", "".join(self._texts())).strip()

    def _texts(self) -> Iterator[str]:
        for part in self.parts:
            if isinstance(part, str):
                yield part
            elif part.tag not in _HIDDEN:
                yield from part._texts()
                yield "" if part.tag in {"b", "i", "small", "span", "code"} else " "


class Parser(HTMLParser):
    """Builds the tree, and sees to it that every end tag ends the element that is open."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].parts.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].parts.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self._open[-1].parts.append(data)


def parsed(page: Path) -> Element:
    parser = Parser()
    parser.feed(page.read_text(encoding="utf-8"))
    parser.close()
    assert len(parser._open) == 1, f"{parser._open[-1].tag} is not ended"
    return parser.root


@dataclass(frozen=True)
class Made:
    """Made-up runs by name, a study of two of them, and the page of each."""

    runs: dict[str, Run]
    study: StudyDirectory
    pages: dict[str, Element]


def made_study(folder: Path, images: Images) -> StudyDirectory:
    """Two settings with two seeds each."""
    settings = [{"name": "wide", "description": "48 units"}, {"name": "slow", "description": "a fifth of the rate"}]
    runs = []
    for seed in range(2):
        for setting, rate in (("wide", 0.5), ("slow", 0.1)):
            path = folder / "runs" / f"{setting}-seed{seed}"
            run = write_run(path, images, Plan(setting, 3, rate, seed=seed, overrides={"evaluation.choose": "last"}))
            runs.append(PlannedRun(setting, 1.0, seed, run.recipe, path.name, path))  # type: ignore[arg-type]
    spec = StudySpec.model_validate({"name": "rates", "recipe": "airnet-scratch", "settings": settings, "seeds": 2})
    return write_study(folder, spec, StudyPlan(None, tuple(runs)), str(images.root), "", {})


def study_page(folder: Path, recipe: str, fractions: Sequence[float], write: Callable[[Path, str], Run]) -> Element:
    """The page of a study of two settings with one seed. write: a run of a setting into a folder."""
    settings = ("a", "b")
    runs = []
    for setting, fraction in itertools.product(settings, fractions):
        path = folder / "runs" / f"{setting}-{fraction:g}"
        runs.append(PlannedRun(setting, fraction, 0, write(path, setting).recipe, path.name, path))  # type: ignore[arg-type]
    fields = {"name": folder.name, "recipe": recipe, "settings": [{"name": name} for name in settings]}
    spec = StudySpec.model_validate(fields | {"fractions": fractions, "seeds": 1})
    study = write_study(folder, spec, StudyPlan(None, tuple(runs)), "images", "", {})
    return parsed(build_study_report(study, folder / "report.html"))


@pytest.fixture(scope="module")
def gallery(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("pages")
    images = write_images(folder / "images", 10, 30)
    groups = [f"patient {row % 15}" for row in range(len(images.paths))]
    runs = {name: write_run(folder / name, images, Plan(name, 3, seed=seed)) for seed, name in enumerate("abcd")}
    runs["new"] = write_run(folder / "new", images, Plan("new", 3, stop=0))
    runs["grouped"] = write_run(folder / "grouped", images, Plan("grouped", 2), groups)
    runs["features"] = write_pretraining_run(folder / "features", images, Plan("features", 3))
    small = {"snapshots.images": 18}  # all, so that both have masks of the same images
    for seed, name in enumerate(("masks", "blurred")):
        blurs = (0.8, 2.5)[: seed + 1]
        runs[name] = write_mask_run(folder / name, scenes, MaskPlan(name, 2, seed=seed, blurs=blurs, overrides=small))
    runs["new masks"] = write_mask_run(folder / "new masks", scenes, MaskPlan("new", 2, stop=0))
    runs["stopped"] = write_run(folder / "stopped", images, Plan("stopped", 4, stop=2))
    runs["single"] = write_run(folder / "single", write_images(folder / "zeros", 1, 30), Plan("single", 2))
    runs["other"] = write_run(folder / "other", write_images(folder / "more", 12, 12), Plan("other", 2))
    few = draw_scenes(folder / "few", 12, (48, 64))
    runs["few masks"] = write_mask_run(folder / "few masks", few, MaskPlan("few", 2))
    of_pages = {"one": ["a"], "two": ["a", "b"], "four": [*"abcd"], "new": ["new"], "grouped": ["grouped"]}
    of_pages |= {"pretraining": ["features"], "masks": ["masks"], "two masks": ["masks", "blurred"]}
    of_pages |= {"new masks": ["new masks"], "few masks": ["few masks"], "stopped": ["stopped"]}
    of_pages |= {"one class": ["single"], "other images": ["a", "other"]}
    pages = {
        page: parsed(report([runs[name] for name in names], folder / f"{page}.html"))
        for page, names in of_pages.items()
    }
    study = made_study(folder / "study", images)
    pages["study of shares"] = study_page(
        folder / "shares", "airnet-scratch", (0.5, 1.0), lambda path, name: write_run(path, images, Plan(name, 2))
    )
    pages["study of masks"] = study_page(
        folder / "study of masks",
        "segment-lite",
        (1.0,),
        lambda path, name: write_mask_run(path, scenes, MaskPlan(name, 2)),
    )
    pages["study"] = parsed(build_study_report(study, folder / "study.html"))
    return Made(runs, study, pages)


@pytest.mark.parametrize("name", _PAGES)
def test_every_link_leads_somewhere(gallery: Made, name: str) -> None:
    page = gallery.pages[name]
    ids = [element.attributes["id"] for element in page if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    links = [link.attributes["href"] for link in page.all("a")]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)
    sections = {section.attributes["id"] for section in page.one("main").all("section")}
    assert {link.attributes["href"].removeprefix("#") for link in page.one("nav").all("a")} == sections


@pytest.mark.parametrize("name", _PAGES)
def test_no_section_is_empty(gallery: Made, name: str) -> None:
    page = gallery.pages[name]
    for section in page.one("main").all("section"):
        (heading,) = section.all("h1") or section.all("h2")[:1]
        assert heading.text
        assert len(section.text) > len(heading.text) + 20, section.attributes["id"]
    for tag in ("h1", "h2", "h3", "h4", "figcaption", "caption", "th", "li", "summary", "dt", "dd"):
        for element in page.all(tag):
            is_animated = any("hidden" in figure.attributes and element in figure for figure in page.all("figure"))
            is_corner = tag == "th" and element.attributes == {"scope": "col"}
            assert element.text or is_animated or is_corner, (tag, element.attributes)
    for tabs in page.all("div", **{"data-tabs": ""}):
        panels = [element for element in tabs if element.attributes.get("role") == "tabpanel"]
        assert panels
        assert len(tabs.all("button", role="tab")) in ({len(panels)} if len(panels) > 1 else {0, 1})
        assert all(panel.text for panel in panels)
    for table in page.all("table"):
        assert table.all("tbody")
        assert all(row.all("td") for row in table.one("tbody").all("tr"))


@pytest.mark.parametrize("name", _PAGES)
def test_nothing_is_left_unfilled(gallery: Made, name: str) -> None:
    page = gallery.pages[name]
    assert not _UNFILLED.findall(page.text)
    for element in page:
        for attribute, value in element.attributes.items():
            if not value.startswith("data:") and "url(data:" not in value:
                assert not _UNFILLED.findall(value), (element.tag, attribute, value)


@pytest.mark.parametrize("name", _PAGES)
def test_the_runs_on_the_page_have_a_key_of_their_own(gallery: Made, name: str) -> None:
    for key in gallery.pages[name].all("span", kind="key"):
        assert re.fullmatch(r"key run[0-7]", key.attributes["class"])


def percent(value: float) -> str:
    return f"{value:.1%}"


def interval_text(interval: Interval | None) -> str:
    assert interval is not None
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def entries(card: Element) -> dict[str, str]:
    """The figures of a run's card below its headline."""
    return dict(zip([e.text for e in card.all("dt")], [e.text for e in card.all("dd")], strict=True))


def in_words(interval: Interval | None) -> str:
    assert interval is not None
    return f"95% interval {100 * interval.low:.1f} to {100 * interval.high:.1f}"


@pytest.mark.parametrize(
    ("name", "runs", "measure"),
    [("one", ["a"], "top-1"), ("two", ["a", "b"], "top-1"), ("pretraining", ["features"], "k-NN top-1")],
)
def test_the_headline_of_images_is_that_of_their_predictions(
    gallery: Made, name: str, runs: Sequence[str], measure: str
) -> None:
    cards = gallery.pages[name].all("article", kind="card")
    for run, card in zip([gallery.runs[name] for name in runs], cards, strict=True):
        predictions, values = class_predictions(run), class_values(run, run.recipe.evaluation.choose)
        expected = figures(predictions.probabilities, predictions.target, None, values.predicted, values.correct)
        assert card.one("p", kind="big").text == f"{percent(expected.top1)}"
        assert f"{measure}, {in_words(expected.top1_interval)}" in [p.text for p in card.all("p", kind="quiet")]
        card_entries = entries(card)
        assert card_entries["right"] == f"{expected.correct} of {expected.images}"
        assert expected.top5 is not None
        assert card_entries["top-5"] == f"{percent(expected.top5)} {interval_text(expected.top5_interval)}"
        assert (
            card_entries["balanced accuracy"]
            == f"{percent(expected.balanced)} {interval_text(expected.balanced_interval)}"
        )
        assert card_entries["macro F1"] == f"{percent(expected.macro_f1)} {interval_text(expected.macro_f1_interval)}"


def test_many_runs_are_listed_in_a_table_with_their_figures(gallery: Made) -> None:
    rows = gallery.pages["four"].one("table", kind="runs").one("tbody").all("tr")
    for name, row in zip("abcd", rows, strict=True):
        correct = class_values(gallery.runs[name], "best").correct
        assert row.one("th").text == name
        assert row.all("td")[0].one("b").text == percent(correct.mean())
        assert row.all("td")[1].text == f"{correct.sum()}of {len(correct)}"


@pytest.mark.parametrize(("name", "runs"), [("masks", ["masks"]), ("two masks", ["masks", "blurred"])])
def test_the_headline_of_masks_is_that_of_their_counts(gallery: Made, name: str, runs: Sequence[str]) -> None:
    cards = gallery.pages[name].all("article", kind="card")
    for run, card in zip([gallery.runs[name] for name in runs], cards, strict=True):
        counts = mask_values(run, run.recipe.evaluation.choose).counts
        expected = mask_figures(counts, mask_predictions(run).boundary)
        assert card.one("p", kind="big").text == percent(expected.miou)
        assert f"mIoU, {in_words(expected.miou_interval)}" in [p.text for p in card.all("p", kind="quiet")]
        card_entries = entries(card)
        accuracy = expected.pixel_accuracy_interval
        assert card_entries["images"] == str(expected.images)
        assert card_entries["pixel accuracy"] == f"{percent(expected.pixel_accuracy)} {interval_text(accuracy)}"
        assert card_entries["mean Dice"] == f"{percent(expected.dice)} {interval_text(expected.dice_interval)}"
        assert (
            card_entries["boundary F-score"]
            == f"{percent(expected.boundary_f)} {interval_text(expected.boundary_f_interval)}"
        )


@pytest.mark.parametrize(("name", "runs"), [("masks", ["masks"]), ("two masks", ["masks", "blurred"])])
def test_every_class_has_its_own_colour_and_figures(gallery: Made, name: str, runs: Sequence[str]) -> None:
    data = gallery.runs["masks"].data
    colours = {label: "rgb({} {} {})".format(*rgb) for label, rgb in zip(data["classes"], data["colours"], strict=True)}
    assert len(set(colours.values())) == 6
    page = gallery.pages[name]
    rows = page.one("table", kind="by-class").one("tbody").all("tr")
    assert {row.one("th").text: swatch(row) for row in rows} == colours
    palette = [entry for entry in page.one("p", id="palette").all("span") if entry.text]
    assert {entry.text: swatch(entry) for entry in palette} == colours | {"not scored: the image shows through": None}
    pixels = page.one("div", **{"aria-label": "Pixels by class"}).one("tbody").all("tr")
    assert {row.one("th").text: swatch(row) for row in pixels} == colours
    shares = [row.one("span", kind="share").attributes["style"] for row in pixels]
    assert [style.split("background:")[1] for style in shares] == list(colours.values())
    all_figures = [mask_figures(mask_values(gallery.runs[run], "best").counts) for run in runs]
    for number, row in enumerate(rows):
        ious = [cell.text for cell in row.all("td", kind="first")]
        classes = [run_figures.classes[number] for run_figures in all_figures]
        assert ious == [f"{100 * entry.iou:.1f} {interval_text(entry.iou_interval)}" for entry in classes]


def swatch(row: Element) -> str | None:
    """The colour of the row's swatch; None for one that the style sheet paints."""
    elements = [element for element in row if "swatch" in element.classes]
    return elements[0].attributes["style"].removeprefix("background:") if "style" in elements[0].attributes else None


def test_figures_by_class_are_those_of_the_predictions(gallery: Made) -> None:
    run = gallery.runs["a"]
    predictions, values = class_predictions(run), class_values(run, "best")
    assert values.predicted is not None
    rows = gallery.pages["one"].one("table", kind="by-class").one("tbody").all("tr")
    for number, row in enumerate(rows):
        cells = [cell.text for cell in row.all("td")]
        of_class = predictions.target == number
        assert row.one("th").text == run.classes[number]
        assert cells[:2] == [f"{of_class.sum()}", f"{100 * (values.predicted[of_class] == number).mean():.1f}"]


def test_a_score_of_features_is_called_k_nn_top_1_everywhere(gallery: Made) -> None:
    page = gallery.pages["pretraining"]
    words = [page.text, *(value for element in page for value in element.attributes.values() if "top-1" in value)]
    phrases = [match for text in words for match in re.findall(r"(?:\S+ )?top-1", text)]
    assert len(phrases) > 3
    assert {phrase.strip('"([') for phrase in phrases} == {"k-NN top-1"}


def test_the_mean_of_a_study_is_that_of_its_runs(gallery: Made) -> None:
    cells = read_results(gallery.study).cells
    page = gallery.pages["study"]
    rows = page.one("table", kind="runs").one("tbody").all("tr")
    for cell, row in zip(cells, rows, strict=True):
        by_seed = [class_values(run, "last").correct.mean() for run in cell.runs.values()]
        assert len(by_seed) == 2
        assert row.one("th").text == cell.setting
        assert row.all("td")[1].text == f"{percent(float(np.mean(by_seed)))}{interval_text(cell.interval)}"
    assert cells[0].setting in page.all("p", kind="answer")[0].text
