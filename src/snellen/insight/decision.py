"""Which of two is better: the one rule of tables, charts, sentences, headlines and studies."""

from __future__ import annotations

from collections.abc import Sequence

LEVEL = 0.05
RULE = "Better means p below 0.05 after Holm's correction for the number of pairs; intervals are uncorrected."


def winner(difference: float, p_corrected: float | None) -> int:
    """1 if A is better, -1 if B is, 0 if they cannot be told apart or no test was possible.

    difference: of A minus B. p_corrected: two-sided, of no difference, corrected by Holm for all pairs on the
    page; None if there is no test, such as with images from two groups. Intervals decide nothing: they are not
    corrected, and Holm's method has none of its own.
    """
    if p_corrected is None or p_corrected >= LEVEL or difference == 0:
        return 0
    return 1 if difference > 0 else -1


def corrected(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected by Holm for their number; None stays None and is not counted."""
    values = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(values) for p in p_values]


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in the same order: below 0.05 for any true null in at most 5% of studies.

    Source: Holm 1979, Scand J Stat 6:65.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
