"""What a study says, against its runs' predictions computed by hand and against studies made up of known numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from snellen.engine.recipe import CommonRecipe
from snellen.insight.decision import holm
from snellen.insight.moderation import prior
from snellen.insight.power import Needed
from snellen.insight.proportions import wilson
from snellen.insight.seeds import OverSeeds, uncertainty, uncertainty_unpaired
from snellen.insight.settings import by_unit
from snellen.study.answer import answer, outlook, verdict
from snellen.study.results import Cell, Results, _moderated, _pairs
from snellen.study.spec import StudySpec
from snellen.tasks.kind import Judged
from snellen.tasks.kinds import load_recipe


@dataclass
class _Counts:
    """As much of a run as the sentences ask for."""

    data: dict[str, Any]
    recipe: CommonRecipe
    status: Any = field(default_factory=lambda: SimpleNamespace(seconds_training=10.0, epochs_done=5))

    @property
    def kind(self) -> Any:
        return SimpleNamespace(report=SimpleNamespace(view=self._view))

    def _view(self, label: str, run: Any, number: int) -> Any:
        return SimpleNamespace(label=label, recipe=self.recipe, status=self.status)


def cells(rights: dict[str, NDArray[np.bool_]], fraction: float = 1.0) -> list[Cell]:
    study_cells = []
    for name, right in rights.items():
        recipe = (
            load_recipe("linear-probe", {"model.backbone": "airnet"}) if name == "E" else load_recipe("airnet-scratch")
        )
        run: Any = _Counts({"counts": {"train": 100}}, recipe)
        runs = dict.fromkeys(range(len(right)), run)
        study_cells.append(
            Cell(name, fraction, runs, recipe, "top-1", Judged(right.astype(float), right, right.shape[1]))
        )
    return study_cells


def draw_rights(accuracies: dict[str, float], seeds: int, images: int, seed: int = 0) -> dict[str, NDArray[np.bool_]]:
    """Right and wrong with a common difficulty of each image."""
    generator = np.random.default_rng(seed)
    difficulty = generator.random((1, images))
    noise = 0.2
    return {
        name: (1 - noise) * difficulty + noise * generator.random((seeds, images)) < accuracy
        for name, accuracy in accuracies.items()
    }


def results(study_cells: list[Cell], settings: list[dict[str, Any]] | None = None) -> Results:
    settings = settings or [{"name": name} for name in dict.fromkeys(cell.setting for cell in study_cells)]
    study: Any = SimpleNamespace(spec=StudySpec.model_validate({"recipe": "airnet-scratch", "settings": settings}))
    return Results(study, study_cells, _pairs(study_cells), [])


def test_pairs_are_paired_by_seed_and_image_and_corrected_together() -> None:
    rights = draw_rights({"A": 0.7, "B": 0.75, "C": 0.9}, seeds=3, images=400)
    outcome = results(cells(rights))
    assert [(pair.a.setting, pair.b.setting) for pair in outcome.pairs] == [("A", "B"), ("A", "C"), ("B", "C")]
    values = [rights[a].astype(float) - rights[b] for a, b in (("A", "B"), ("A", "C"), ("B", "C"))]
    assert [pair.over.mean for pair in outcome.pairs] == [pytest.approx(difference.mean()) for difference in values]
    expected = prior(np.array([difference.mean(1).var(ddof=1) for difference in values]), degrees=2, independent=2)
    assert [pair.p_holm for pair in outcome.pairs] == holm(
        [uncertainty(difference, expected).over.p_value for difference in values]
    )
    assert outcome.pairs[2].better is outcome.cells[2]
    (sentences,) = answer(outcome)
    assert sentences.headline == f"C beats A and B: top-1 {rights['C'].mean():.1%} (3 seeds each)."
    assert sentences.details[0].startswith(f"C has top-1 {rights['C'].mean():.1%} over 3 seeds on 400 images")
    nearest = min(abs(pair.over.mean) for pair in outcome.pairs[1:])
    assert f"It beats A and B by at least {100 * nearest:.1f} points" in sentences.text
    assert nearest < max(abs(pair.over.mean) for pair in outcome.pairs[1:])


def test_settings_with_masks_are_told_apart_by_miou() -> None:
    values = {"unet": np.array([[0.6, 0.7, 0.5, 0.8], [0.7, 0.6, 0.6, 0.7]]), "fpn": np.full((2, 4), 0.1)}
    runs: Any = dict.fromkeys((0, 1), _Counts({"counts": {"train": 100}}, load_recipe("segment-lite")))
    outcome = results(
        [
            Cell(name, 1.0, runs, runs[0].recipe, "mIoU", Judged(value, None, value.shape[1]))
            for name, value in values.items()
        ]
    )
    assert answer(outcome)[0].details[0].startswith("unet has mIoU 65.0% over 2 seeds on 4 images")


def test_indistinguishable_settings_are_never_called_equal() -> None:
    outcome = results(cells(draw_rights({"A": 0.70, "B": 0.705}, seeds=2, images=200)))
    sentence = verdict(outcome.pairs[0])
    assert outcome.pairs[0].better is None
    assert sentence.startswith("A and B cannot be told apart: difference")
    assert "equal" not in sentence
    assert "cannot be told apart from" in answer(outcome)[0].headline
    assert "2 seeds are too few to estimate" in sentence
    assert "would show it" not in answer(outcome)[0].text
    assert "would have been detected" not in answer(outcome)[0].text


def test_the_answer_says_what_self_supervised_pretraining_was_worth() -> None:
    settings = [{"name": "A", "start": "scratch"}, {"name": "B", "start": "supervised"}]
    settings += [{"name": "C", "start": "self-supervised"}, {"name": "E", "start": "self-supervised"}]
    rights = draw_rights({"A": 0.5, "B": 0.9, "C": 0.7, "E": 0.6}, seeds=3, images=400)
    cells_with_few_labels, cells_with_all_labels = cells(rights, 0.1), cells(dict.fromkeys(rights, rights["A"]))
    texts = [part.text for part in answer(results(cells_with_few_labels + cells_with_all_labels, settings))]
    assert [text.count("Effect of self-supervised pretraining") for text in texts] == [1, 1], (
        "of E only the head is trained"
    )
    assert " Effect of self-supervised pretraining: C beats A by" in texts[0]
    assert " Effect of self-supervised pretraining: A and C cannot be told apart" in texts[1]


def test_one_seed_has_the_interval_of_its_images() -> None:
    rights = draw_rights({"A": 0.8}, seeds=1, images=300)
    cell = cells(rights)[0]
    assert cell.interval == wilson(int(rights["A"].sum()), 300)


def test_settings_are_compared_at_the_same_share_of_the_labels() -> None:
    rights_with_few_labels, rights_with_all_labels = (
        draw_rights({"A": 0.5, "B": 0.6}, 2, 100),
        draw_rights({"A": 0.8, "B": 0.9}, 2, 100, seed=1),
    )
    outcome = results(cells(rights_with_few_labels, 0.1) + cells(rights_with_all_labels, 1.0))
    assert [(pair.a.fraction, pair.b.fraction) for pair in outcome.pairs] == [(0.1, 0.1), (1.0, 1.0)]
    texts = [part.headline for part in answer(outcome)]
    assert [text.split(",")[0] for text in texts] == ["With 10% of the labels", "With 100% of the labels"]


def test_a_seed_that_is_missing_is_left_out_of_the_pair() -> None:
    rights = draw_rights({"A": 0.7, "B": 0.8}, seeds=3, images=150)
    a, b = cells(rights)
    subset = rights["B"][[0, 2]]
    runs = {seed: b.runs[seed] for seed in (0, 2)}
    cell_of_two_seeds = Cell("B", 1.0, runs, b.recipe, "top-1", Judged(subset.astype(float), subset, 150))
    pair = results([a, cell_of_two_seeds]).pairs[0]
    assert pair.over.seeds == 2
    assert pair.over.mean == pytest.approx((rights["A"][[0, 2]].astype(float) - rights["B"][[0, 2]]).mean())


def test_groups_stay_together() -> None:
    """Ten copies of each image in one group: the interval is that of the images, not of the copies."""
    rights = draw_rights({"A": 0.6}, seeds=2, images=60)["A"]
    copied = np.repeat(rights, 10, axis=1)
    groups = np.repeat(np.arange(60), 10)
    ungrouped, grouped = uncertainty(rights.astype(float)).over, uncertainty(by_unit(copied.astype(float), groups)).over
    assert grouped.mean == pytest.approx(ungrouped.mean)
    assert grouped.interval.low == pytest.approx(ungrouped.interval.low)
    uneven = by_unit(rights.astype(float), np.arange(60) // 7)
    assert uneven.mean() == pytest.approx(rights.mean())


WORDS = {"A": "from scratch, everything trained", "B": "supervised pretraining, everything trained"}
WORDS |= {"C": "self-supervised pretraining, everything trained", "D": "supervised pretraining, linear probe"}


def test_a_headline_names_settings_in_words_and_fits_into_two_lines() -> None:
    settings = [{"name": name, "description": text} for name, text in WORDS.items()]
    for accuracies in (
        {"A": 0.5, "B": 0.9},
        {"A": 0.7, "B": 0.71, "C": 0.5},
        {"A": 0.5, "B": 0.9, "C": 0.89, "D": 0.4},
    ):
        (sentences,) = answer(results(cells(draw_rights(accuracies, 3, 400)), settings))
        assert len(sentences.headline) <= 165
        assert "3 seeds each" in sentences.headline
        best = max(accuracies, key=lambda name: accuracies[name])
        assert f"({WORDS[best]})" in sentences.headline or f"({WORDS['A']})" in sentences.headline
    (only_answer,) = answer(results(cells(draw_rights({"A": 0.5, "B": 0.9}, 1, 400)), settings))
    assert only_answer.headline.endswith("(one seed each).")


def test_settings_of_two_kinds_are_compared_over_all_seeds_of_both() -> None:
    """E is a linear probe with five seeds, A a whole network with three."""
    rights = draw_rights({"A": 0.7}, 3, 300) | draw_rights({"E": 0.8}, 5, 300, seed=1)
    study_cells = cells(rights)
    assert [cell.kind for cell in study_cells] == ["whole network trained", "head only"]
    (pair,) = results(study_cells).pairs
    assert not pair.is_paired
    assert pair.over == uncertainty_unpaired(rights["A"].astype(float), rights["E"].astype(float)).over
    assert "3 or 5 seeds each" in verdict(pair)


def test_settings_learn_from_those_of_their_kind_alone() -> None:
    rights = draw_rights({"A": 0.6, "B": 0.7, "C": 0.8, "E": 0.75}, 3, 300)
    moderated = _moderated(cells(rights))
    variances = np.array([rights[name].mean(1).var(ddof=1) for name in "ABC"])
    expected = prior(variances, degrees=2, independent=3)
    assert expected.degrees > 0
    assert [cell.expected for cell in moderated[:3]] == [expected] * 3
    assert moderated[3].expected.degrees == 0
    assert moderated[0].over.interval != uncertainty(rights["A"].astype(float)).over.interval


def test_two_groups_of_images_give_no_interval_and_no_verdict() -> None:
    rights = draw_rights({"A": 0.2, "B": 0.9}, 3, 100)
    groups = np.repeat([0, 1], 50)
    runs: Any = dict.fromkeys(range(3), _Counts({"counts": {"train": 100}}, load_recipe("airnet-scratch")))
    study_cells = [
        Cell(name, 1.0, runs, runs[0].recipe, "top-1", Judged(by_unit(right.astype(float), groups), right, 100, groups))
        for name, right in rights.items()
    ]
    outcome = results(study_cells)
    assert outcome.cells[0].interval is None
    assert outcome.pairs[0].better is None
    assert outcome.pairs[0].p_holm is None
    assert "only 2 groups" in verdict(outcome.pairs[0])
    assert "without a verdict: only 2 groups" in answer(outcome)[0].headline


@pytest.mark.parametrize(("images", "text"), [(8_421, "about 8,400 images"), (312, "about 310 images")])
def test_the_number_of_images_is_rounded_in_words(images: int, text: str) -> None:
    result = OverSeeds(0.01, None, None, 0.1, 3, 200)
    assert text in outlook(result, Needed(images, None, None, 0.05))
    assert "for this pair by itself" in outlook(result, Needed(images, 12, None, 0.05))


def test_statements_depend_on_the_number_of_seeds() -> None:
    needed = Needed(900, 12, 0.031, 0.005)
    assert "seeds are too few" in outlook(OverSeeds(0.01, None, None, 0.1, 2, 200), Needed(None, None, None, 0.05))
    sentences = outlook(OverSeeds(0.01, None, None, 0.1, 5, 200), needed)
    assert "about 900 images or about 12 seeds" in sentences
    assert "a true difference of about 3.1 points would have been detected with 80% power" in sentences


def test_other_differences_of_the_winner_are_stated() -> None:
    rights = draw_rights({"A": 0.5, "B": 0.9}, 3, 300)
    study_cells = cells(rights)
    first: Any = study_cells[1].runs[0]  # it stands for the setting
    first.status = SimpleNamespace(seconds_training=13.8, epochs_done=17)
    assert "B trained 38% longer (14 s against 10 s, 17 epochs against 5)" in answer(results(study_cells))[0].text


def test_power_is_stated_at_the_corrected_level() -> None:
    study_cells = cells(draw_rights({"A": 0.70, "B": 0.705, "C": 0.71}, seeds=5, images=200))
    assert [pair.needed.level for pair in results(study_cells).pairs] == [0.05 / 3] * 3
    assert results(study_cells[:2]).pairs[0].needed.level == 0.05
