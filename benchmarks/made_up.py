"""How honest the answer is on tables that are made up, where the truth is known.

    python benchmarks/made_up.py                               # all of them, 200 searches each
    python benchmarks/made_up.py --only plain --searches 100

Each is a truth (a value a point, as good as it is low) and a noise: of the split, which all points
share, of the split and the point, and of the seed. `replays.py` draws searches and confirmations
from it, as `honesty.py` does from tables of real trainings. `results/made-up.json` is written after
each table.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import replays
from tables import RESULTS, Table

from lrsearch.analysis.basin import PLAIN as TOLD
from lrsearch.analysis.edges import Range, find_edges
from lrsearch.trial import Objective

RATES = np.geomspace(1e-4, 1, 9)
DECADES = np.log10(RATES)
PARAMS = [{"lr": float(f"{rate:.6g}"), "batch_size": size} for size in (32, 128) for rate in RATES]
SPLITS, SEEDS, FRESH = 8, 400, 400
"""Splits and seeds that searches draw from, and trainings that confirmations draw from."""

CONFIRMED = 5
"""Fresh seeds of a confirmation."""


@dataclass(frozen=True)
class Case:
    """A truth of each point of `params`, infinite where it diverges, and its noise: its kind, and
    standard deviations of a seed, which grow by so much to the worst point, and of a split and
    point. Values are in `steps` of 1 where that is not 0."""

    truth: Any
    noise: str = "normal"
    seed: float = 0.01
    grow: float = 0.0
    mixed: float = 0.01
    steps: int = 0
    kinds: Sequence[str] = ("1x1",)
    params: Any = field(default_factory=lambda: PARAMS)


def bowl(best: float, cliff: float = math.inf) -> Any:
    """A bowl of each batch size, by the decade of its best rate; what lies beyond the cliff
    diverges."""
    own = [best, best + 0.4]
    found = [0.1 + 0.3 * (1 - np.exp(-(((DECADES - at) / 0.8) ** 2) / 2)) for at in own]
    found[1] += 0.01
    return np.concatenate([np.where(cliff < DECADES, math.inf, each) for each in found])


def shelf() -> Any:
    """Four or five equal rates between a slope and divergence."""
    slope = np.where(DECADES < -3, 0.3, np.where(DECADES < -2.4, 0.15, 0.1))
    found = np.concatenate([slope, slope + 0.005])
    found[[8, 17]] = math.inf
    return found


def ridge() -> Any:
    """A bowl of the rate, and in it a best weight decay for each rate: the less, the higher it
    is."""
    decades = np.array(
        [[math.log10(each[name]) for name in ("lr", "weight_decay")] for each in TWO_D]
    )
    best = 0.05 * (1 - np.exp(-(((decades.sum(axis=1) + 5.5) / 1.5) ** 2) / 2))
    return np.tile(bowl(-2)[:9], 6) + best


DECAYS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""More values than part points into curves."""

TWO_D = [{"lr": one["lr"], "weight_decay": decay} for decay in DECAYS for one in PARAMS[:9]]
EVERY = ("1x1", "0.5x1", "1x3")
PLAIN, TWO = np.full(18, 0.1), np.repeat([0.1, 0.11], 9)
CASES = {
    "plain": Case(PLAIN, mixed=0.0, kinds=EVERY),
    "plain of two levels": Case(TWO, mixed=0.0, kinds=EVERY),
    "skewed plain": Case(TWO, "skewed", mixed=0.0),
    "shelf": Case(shelf(), mixed=0.0, kinds=EVERY),
    "bowl": Case(bowl(-2, -0.5), kinds=EVERY),
    "best above": Case(bowl(0.6)),
    "best below": Case(bowl(-5)),
    "skewed bowl": Case(bowl(-2, -0.5), "skewed", 0.02, grow=3),
    "heavy tails": Case(bowl(-2, -0.5), "heavy", 0.02),
    "steps of 1/36": Case(bowl(-2, -0.5), seed=0.02, steps=36),
    "rate and decay": Case(ridge(), mixed=0.0, kinds=("0.5x1", "0.5x3"), params=TWO_D),
}

SPLIT = 0.02
"""The standard deviation of what a split does to all points."""


def draw_noise(kind: str, generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Noise of mean 0 and variance 1: normal, skewed to worse values, or with heavy tails."""
    if kind == "skewed":
        mean, variance = math.exp(0.32), (math.exp(0.64) - 1) * math.exp(0.64)
        return (generator.lognormal(0, 0.8, shape) - mean) / math.sqrt(variance)
    if kind == "heavy":
        return generator.standard_t(3, shape) / math.sqrt(3)
    return generator.normal(size=shape)


def make(name: str, case: Case) -> Table:
    """The table of a case."""
    generator = np.random.default_rng(0)
    truth, count = case.truth, len(case.truth)
    finite = truth[np.isfinite(truth)]
    worse = (truth - finite.min()) / (np.ptp(finite) or 1.0)
    worse = np.where(np.isfinite(worse), worse, 1.0)[:, None]
    sizes = case.seed * (1 + case.grow * worse)
    common = SPLIT * generator.normal(size=SPLITS)
    mixed = case.mixed * generator.normal(size=(count, SPLITS))
    own = draw_noise(case.noise, generator, (count, SPLITS, SEEDS))
    values = truth[:, None, None] + (common + mixed)[:, :, None] + sizes[:, :, None] * own
    fresh = truth[:, None] + SPLIT * generator.normal(size=FRESH)
    fresh = fresh + case.mixed * generator.normal(size=(count, FRESH))
    fresh = fresh + sizes * draw_noise(case.noise, generator, (count, FRESH))
    if case.steps:
        values, fresh = (np.round(each * case.steps) / case.steps for each in (values, fresh))
    lost = np.zeros(values.shape, bool)
    return Table(name, Objective("loss", "min"), case.params, values, fresh, lost)


def judge(table: Table, kind: str, number: int) -> replays.Row:
    """What searches of a kind and their confirmations say of a table: shares, the median width of
    the answer's interval in deviations of a seed, and that of `best_lr` in decades. `edge` are
    those that an end of the rates is told of as one; `noise_told` those whose evidence says that
    noise alone could give such values."""
    found = list(replays.searches(table, kind, number))
    row = replays.judge_searches(table, found)
    held, widths = [], []
    for each in found:
        if each.answer.interval is not None:
            own = table.values[each.answer.recommended.point - 1, each.split]
            low, high = each.answer.interval
            held.append(low <= own.mean() <= high)
            widths.append((high - low) / own.std(ddof=1))
    sure = replays.judge_confirmations(table, found, CONFIRMED)
    return {
        "value_held": float(np.mean(held)),
        "width": float(np.median(widths)),
        "best_rate_held": row["best_lr_holds_over_splits"],
        "decades": row["median_decades"],
        "edge": float(np.mean([_tells_edge(each) for each in found])),
        "noise_told": float(np.mean([_says_noise(each) for each in found])),
        "confirmed_held": sure["interval_holds"],
        "truly_best_tied": sure["truly_best_is_tied"],
        "equal_told_apart": replays.judge_equals(table, found, CONFIRMED),
    }


def _tells_edge(one: replays.Search) -> bool:
    highest, searched = one.answer.highest, Range("lr", float(RATES[0]), float(RATES[-1]), "log")
    curve = replays.basin_of(highest, one.answer.basins)
    return bool(find_edges(highest.params, [searched], curve))


def _says_noise(one: replays.Search) -> bool:
    basin = one.answer.basin
    return basin is not None and basin.flat >= TOLD


def replay(names: Sequence[str], number: int, output: Path) -> None:
    """Judge tables, and write and print what came of each."""
    rows: dict[str, replays.Row] = {}
    for name in names:
        for kind in CASES[name].kinds:
            rows[f"{name}, {kind}"] = row = judge(make(name, CASES[name]), kind, number)
            told = ", ".join(f"{key} {value:.3g}" for key, value in row.items())
            print(f"{name}, {kind}: {told}", flush=True)
        output.mkdir(parents=True, exist_ok=True)
        written = {"searches": number, "tables": rows}
        (output / "made-up.json").write_text(json.dumps(written, indent=1) + "\n")


def main() -> None:
    """Replay searches of tables that are made up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--searches", type=int, default=200, help="of each kind and table")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=CASES, nargs="*", default=list(CASES))
    given = parser.parse_args()
    replays.CONFIRMATIONS = 4
    replay(given.only, given.searches, given.output)


if __name__ == "__main__":
    main()
