"""Which runs a study consists of, what makes two of them the same, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snellen.errors import UserError
from snellen.study.plan import PlannedData, make_plan
from snellen.study.spec import STUDIES, load_study

PHOTOS = PlannedData("photos", "images", 100)
BASE: dict[str, Any] = {
    "name": "two",
    "seeds": [0, 1],
    "fractions": [0.5, 1.0],
    "recipe": "airnet-scratch",
    "settings": [
        {"name": "A", "start": "scratch"},
        {"name": "B", "start": "scratch", "changes": {"optimizer.lr": 0.1}},
    ],
}


DOCUMENTED = sorted(str(file) for file in (Path(__file__).parents[2] / "docs" / "studies").glob("*.yaml"))


@pytest.mark.parametrize("name", [*STUDIES.names(), *DOCUMENTED])
def test_every_study_that_comes_with_snellen_can_be_planned(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    plan = make_plan(study, PlannedData(str(tmp_path), "images", 100), tmp_path)
    seeds = [5 if run.recipe.task == "classification" and run.recipe.model.cached else 3 for run in plan.runs]
    first = [number for number, run in zip(seeds, plan.runs, strict=True) if run.seed == 0]
    assert len(plan.runs) == sum(first)
    assert len(first) == len(study.chosen) * len(study.fractions)
    assert (plan.pretraining is not None) == any(s.start == "self-supervised" for s in study.chosen)


def test_the_runs_of_a_seed_differ_in_what_is_compared_alone(tmp_path: Path) -> None:
    plan = make_plan(load_study(BASE), PHOTOS, tmp_path)
    assert [(run.seed, run.fraction, run.setting) for run in plan.runs] == [
        (seed, fraction, setting) for seed in (0, 1) for fraction in (0.5, 1.0) for setting in "AB"
    ]
    a, b = plan.runs[:2]
    assert a.recipe.seed == b.recipe.seed == 0
    assert (a.recipe.optimizer.lr, b.recipe.optimizer.lr) == (0.75, 0.1)
    same = {"name": "", "optimizer": a.recipe.optimizer}
    assert a.recipe.model_copy(update=same) == b.recipe.model_copy(update=same)


def test_a_run_is_recognised_by_what_determines_its_result(tmp_path: Path) -> None:
    def keys(fields: dict[str, Any], fingerprint: str = "images", **overrides: Any) -> set[str]:
        return {
            run.key
            for run in make_plan(load_study(fields, overrides), PlannedData("photos", fingerprint, 100), tmp_path).runs
        }

    original_keys = keys(BASE)
    assert len(original_keys) == 8
    assert keys(BASE, **{"changes.hardware.threads": 1, "changes.data.cache_mib": 10}) == original_keys
    assert keys(BASE, seeds=[0, 1, 2]) > original_keys, "more seeds add runs, and repeat none"
    assert not keys(BASE, fingerprint="other images") & original_keys
    assert not keys(BASE, **{"changes.epochs": 3}) & original_keys


def test_few_labels_get_the_epochs_for_enough_steps(tmp_path: Path) -> None:
    study = load_study(
        BASE | {"fewest_steps": 300, "fractions": [0.1, 1.0]},
        {"changes.epochs": 30, "changes.batch_size": 20, "changes.evaluation.every": 3},
    )
    plan = make_plan(study, PlannedData("photos", "images", 1000), tmp_path)
    few, all_labels = (next(run.recipe for run in plan.runs if run.fraction == share) for share in (0.1, 1.0))
    assert (few.epochs, few.evaluation.every) == (60, 6)  # 5 steps in an epoch
    assert (all_labels.epochs, all_labels.evaluation.every) == (30, 3)


def test_weights_count_by_their_content(tmp_path: Path) -> None:
    study = BASE | {"settings": [{"name": "C", "start": "self-supervised"}]}
    keys = []
    for name, content in (("one", b"a"), ("two", b"a"), ("three", b"b")):
        (tmp_path / name).write_bytes(content)
        loaded = load_study(study, {"self_supervised": str(tmp_path / name)})
        keys.append(make_plan(loaded, PHOTOS, tmp_path).runs[0].key)
    assert keys[0] == keys[1] != keys[2]


def test_settings_that_train_a_head_alone_have_five_seeds_unless_others_are_given(tmp_path: Path) -> None:
    probe = {"name": "D", "recipe": "linear-probe", "changes": {"model.backbone": "airnet"}}
    study = {key: value for key, value in BASE.items() if key != "seeds"} | {"settings": [BASE["settings"][0], probe]}

    def seeds(fields: dict[str, Any]) -> dict[str, list[int]]:
        runs = make_plan(load_study(fields | {"fractions": [1.0]}), PHOTOS, tmp_path).runs
        return {name: [run.seed for run in runs if run.setting == name] for name in "AD"}

    assert seeds(study) == {"A": [0, 1, 2], "D": [0, 1, 2, 3, 4]}
    assert seeds(study | {"seeds": 2}) == {"A": [0, 1], "D": [0, 1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": [*BASE["settings"], {"name": "A"}]}, "two settings are called 'A'"),
        ({"settings": []}, "either `settings` or `recipes`"),
        ({"recipe": None}, "setting 'A' has no recipe"),
        ({"only": ["Z"]}, r"there is no setting 'Z'\. Settings: A, B"),
        ({"seeds": [1, 1]}, "each may be given only once"),
        ({"fractions": [0.0]}, "above 0 and at most 1"),
        ({"seed": [1]}, r"seed: no such field\. Did you mean 'seeds'"),
        ({"recipe": "airnet-skratch"}, r"setting 'A': recipe 'airnet-skratch': no such recipe\. Did you mean"),
        ({"changes": {"optimizer": {"lrr": 1}}}, r"optimizer\.lrr: no such field\. Did you mean 'optimizer\.lr'"),
        ({"settings": [{"name": "A"}, {"name": "B"}]}, "'A' and 'B' are the same run"),
        ({"settings": [{"name": "C", "start": "self-supervised"}]}, "and there are none. Give self_supervised=RUN"),
        ({"settings": [{"name": "B", "start": "supervised"}], "supervised": "gone.pt"}, "no such weights"),
        ({"recipe": "byol-small"}, "is for pretraining; a study compares classifiers, or segmenters"),
    ],
)
def test_impossible_studies_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(load_study(BASE | changes), PHOTOS, tmp_path)
