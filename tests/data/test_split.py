"""The split keeps together what belongs together, and keeps every class in training."""

from __future__ import annotations

import random
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.data.fingerprint import text_hash
from snellen.data.split import validation_rows

Rows = list[tuple[str, str]]  # class and group of each image


def rows_of(classes: int, groups: int) -> st.SearchStrategy[Rows]:
    label = st.integers(0, classes - 1).map(lambda number: f"class {number}")
    group = st.integers(0, groups - 1).map(lambda number: f"patient {number}")
    return st.lists(st.tuples(label, group), min_size=1, max_size=40)


def sides(rows: Rows, share: float) -> tuple[set[str], set[str], list[str]]:
    """Groups that are trained on, groups that are scored, and the notes."""
    labels, groups = [label for label, _ in rows], [group for _, group in rows]
    scored, notes = validation_rows(labels, [text_hash(str(n)) for n in range(len(rows))], groups, share)
    validation = {group for row, group in enumerate(groups) if row in scored}
    return {group for row, group in enumerate(groups) if row not in scored}, validation, notes


def groups_of(rows: Rows) -> dict[str, set[str]]:
    result: dict[str, set[str]] = defaultdict(set)
    for label, group in rows:
        result[label].add(group)
    return result


@settings(max_examples=300, deadline=None)
@given(rows_of(6, 9), st.sampled_from([0.05, 0.15, 0.3, 0.5]))
def test_groups_stay_whole_and_every_class_is_trained_on(rows: Rows, share: float) -> None:
    train, validation, notes = sides(rows, share)
    assert not train & validation
    text = "\n".join(notes)
    for label, groups in groups_of(rows).items():
        assert groups & train
        if not groups & validation:
            assert f"'{label}'" in text or "and 1 more" in text
        if len(groups) > 1 and not groups & validation:  # no group of it can be taken from training
            for group in groups:
                others = [names for names in groups_of(rows).values() if group in names]
                assert any(not (names - {group}) & train for names in others)
    assert sides(rows, share) == (train, validation, notes)
    labels, names = [label for label, _ in rows], [group for _, group in rows]
    by_content, _ = validation_rows(labels, [text_hash(name) for name in names], [None] * len(rows), share)
    assert {names[row] for row in by_content} == validation  # equal files are one key, as a group is


def most_scored(groups: dict[str, set[str]]) -> int:
    """Of all splits that train on every class, the most classes that one of them scores."""
    everything = sorted(set().union(*groups.values()))
    best = 0
    for number in range(2 ** len(everything)):
        scored = {group for bit, group in enumerate(everything) if number >> bit & 1}
        if not any(names <= scored for names in groups.values()):
            best = max(best, sum(bool(names & scored) for names in groups.values()))
    return best


def test_nearly_as_many_classes_are_scored_as_can_be() -> None:
    generator, fewer = random.Random(0), 0
    for _ in range(300):
        number, size = generator.randint(2, 7), generator.randint(2, 20)
        rows = [(f"c{generator.randrange(5)}", f"g{generator.randrange(number)}") for _ in range(size)]
        _, validation, _ = sides(rows, 0.3)
        scored = sum(bool(names & validation) for names in groups_of(rows).values())
        fewer += scored < most_scored(groups_of(rows))
    assert fewer <= 3  # the best split is as hard to find as a 2-colouring of a hypergraph


def test_a_class_of_one_patient_leaves_the_patient_whole() -> None:
    """40 patients with two common classes, and a rare one that a single patient has."""
    rows = [(label, f"p{patient}") for patient in range(40) for label in ("a", "b") for _ in range(3)]
    for rare in range(40):
        train, validation, notes = sides([*rows, ("rare", f"p{rare}")], 0.15)
        assert not train & validation
        assert f"p{rare}" in train
        assert len(notes) == 1
        assert "class 'rare' has only one group" in notes[0]


def test_a_file_under_two_classes_is_on_one_side() -> None:
    labels = ["a", "b"] * 20
    hashes = [text_hash(str(number // 2)) for number in range(40)]  # every file under both
    hashes += [text_hash(f"single {number}") for number in range(20)]
    scored, _ = validation_rows(labels + ["a"] * 10 + ["b"] * 10, hashes, [None] * 60, 0.3)
    assert not {hashes[row] for row in scored} & {hashes[row] for row in range(60) if row not in scored}
