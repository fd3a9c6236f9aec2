"""How honest the answer is: what it says of a search, held against what is true.

    python benchmarks/honesty.py train --folder FOLDER     # tables of real trainings, half an hour
    python benchmarks/honesty.py collect --folder FOLDER   # to results/honesty-tables.json
    python benchmarks/honesty.py replay                    # searches that draw from them

`train` measures every point of a few grids with many seeds, on several splits, by `lrsearch grid`
itself; stopped, it goes on where it was. `replay` writes `results/honesty.json` after each table,
and a picture, `results/honesty.svg`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import replays
from tables import PROBLEMS, RESULTS, TABLES, Table, collect, load, train

KINDS = ("1x1", "0.5x1", "1x3")
CONFIRMED = (("1x1", 5), ("0.5x1", 5), ("1x1", 3), ("1x1", 10))
"""The searches that are confirmed, and with how many seeds at most."""

COLUMNS = {
    "searches": {
        "best_lr_holds_over_splits": "best rate held, all splits",
        "best_lr_holds": "own split",
        "median_decades": "decades",
        "curve_holds": "value held",
        "best_value_misses_by": "best value too good by",
        "curve_misses_by": "its curve",
        "regret_of_highest": "regret of the highest",
        "regret_of_recommended": "recommended",
        "truly_best_is_tied": "truly best tied",
        "median_tie_group": "tied",
    },
    "confirmations": {
        "search_misses_by": "search too good by",
        "search_holds": "its interval holds",
        "mean_misses_by": "confirmed too good by",
        "interval_holds": "its interval holds",
        "median_width": "width",
        "truly_best_is_tied": "truly best tied",
        "tie_group": "tied",
        "oracle_group": "an oracle's",
        "equal_told_apart": "equal ones told apart",
        "said_better": "said to be better",
        "is_better": "is better",
        "trained": "trainings",
        "saved": "saved by the race",
    },
    "regrets": {
        "trainings": "trainings",
        "regret_of_search": "the search's best value",
        "random": "best value of as many at random",
        "optuna": "Optuna's best of as many",
        "regret_of_winner": "confirmed: highest mean",
        "regret_without_race": "without a race",
        "regret": "recommended",
    },
    "refinements": {
        "begun": "begun with",
        "begun_near": "near the best rate",
        "begun_reached": "near the optimum",
        "near": "at the end: near the best rate",
        "reached": "near the optimum",
        "grid_reached": "the whole grid",
        "near_95": "trainings for 95 % near the best rate",
        "reached_95": "near the optimum",
        "trainings": "trainings until it ends",
        "most_trainings": "at most",
    },
}


def replay(number: int, names: list[str], output: Path) -> None:
    """Replay searches, and write what came of them after each table."""
    found: dict[str, dict[str, Any]] = {part: {} for part in COLUMNS}
    for table in load():
        if table.name not in names:
            continue
        started = time.perf_counter()
        for part, rows in replay_table(table, number).items():
            found[part].update(rows)
        (output / "honesty.json").write_text(json.dumps(found, indent=1) + "\n")
        print(f"{table.name}: {time.perf_counter() - started:.0f} s", flush=True)
    for part, rows in found.items():
        print("\n" + show(part, rows))
    (output / "honesty.svg").write_text(draw(found["confirmations"]))


def replay_table(table: Table, number: int) -> dict[str, dict[str, Any]]:
    """The rows of a table, by part."""
    searched = {kind: list(replays.searches(table, kind, number)) for kind in KINDS}
    rows = {kind: replays.judge_searches(table, own) for kind, own in searched.items()}
    parts: dict[str, dict[str, Any]] = {part: {} for part in COLUMNS}
    parts["searches"] = {f"{table.name}, {kind}": row for kind, row in rows.items()}
    for kind, seeds in CONFIRMED:
        row = replays.judge_confirmations(table, searched[kind], seeds)
        row["equal_told_apart"] = replays.judge_equals(table, searched[kind], seeds)
        row["search_misses_by"] = rows[kind]["misses_fresh_by"]
        row["search_misses_spread"] = rows[kind]["misses_fresh_spread"]
        row["search_holds"] = rows[kind]["curve_holds_fresh"]
        row["trainings"] = len(searched[kind][0].points) + row["trained"]
        parts["confirmations"][f"{table.name}, {kind}, {seeds} seeds"] = row
    counts = [round(row["trainings"]) for row in parts["confirmations"].values()]
    others = replays.judge_others(table, counts, max(1, number // 2))
    for place, (name, row) in enumerate(parts["confirmations"].items()):
        row.update({other: values[place] for other, values in others.items()})
        parts["regrets"][name] = {key: row[key] for key in COLUMNS["regrets"]}
    parts["refinements"][table.name] = replays.judge_refinements(table, max(1, number // 2))
    return parts


SHARES = {"search_holds", "interval_holds", "truly_best_is_tied", "equal_told_apart", "said_better"}
SHARES |= {"is_better", "saved", "near", "reached", "begun_near", "begun_reached", "grid_reached"}
SHARES |= {"curve_holds", "best_lr_holds", "best_lr_holds_over_splits"}


def show(part: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """A part as a table in Markdown."""
    columns = COLUMNS[part]
    lines = [f"| {part} | " + " | ".join(columns.values()) + " |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for name, row in rows.items():
        cells = [_cell(key, row.get(key)) for key in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return ""
    if key in SHARES:
        return f"{value:.1%}"
    return f"{value:.3g}" if key == "median_width" else f"{value:.2f}".removesuffix(".00")


LEFT, STEP, ROW = 170, 80, 18
"""Pixels of the names, of a deviation and of a row."""

WORST, BEST = -2, 5
"""Deviations that are drawn."""


def draw(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """How far values lie from the truth, as SVG: the best value of a grid, and the mean of the
    recommended point over fresh seeds."""
    drawn = {name: row for name, row in rows.items() if name.endswith(", 1x1, 5 seeds")}
    width, height = LEFT + STEP * (BEST - WORST) + 20, ROW * (3 * len(drawn) + 6)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    bottom = ROW * (3 * len(drawn) + 1)

    def across(value: float) -> float:
        return round(LEFT + STEP * (min(max(value, WORST), BEST) - WORST), 1)

    for at in range(WORST, BEST + 1):
        colour = "black" if at == 0 else "#e5e5e5"
        parts.append(f'<path d="M{across(at)} {ROW // 2}V{bottom}" stroke="{colour}"/>')
        parts.append(
            f'<text x="{across(at)}" y="{bottom + ROW}" text-anchor="middle">{at:+d}</text>'
        )
    for place, (name, row) in enumerate(drawn.items()):
        top = ROW * (3 * place + 1)
        label = name.split(",")[0]
        parts.append(f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{label}</text>')
        for line, (key, colour) in enumerate((("search", "#d62728"), ("mean", "#1f77b4"))):
            low, _, high = (across(end) for end in row[f"{key}_misses_spread"])
            y = top + 4 + line * ROW
            parts.append(
                f'<rect x="{low}" y="{y}" width="{max(high - low, 1):.1f}" height="10" '
                f'fill="{colour}" fill-opacity="0.4"/>'
            )
            parts.append(
                f'<circle cx="{across(row[f"{key}_misses_by"])}" cy="{y + 5}" r="4" '
                f'fill="{colour}"/>'
            )
    y = bottom + 2 * ROW + 6
    for line, (colour, words) in enumerate(
        (
            ("#d62728", "the best value of a grid of 36 points with one seed"),
            ("#1f77b4", "the recommended point's mean over at most 5 fresh seeds and splits"),
            ("black", "right of 0: better than it is, in deviations of a training over splits"),
        )
    ):
        parts.append(f'<circle cx="{LEFT}" cy="{y + line * ROW - 4}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + 10}" y="{y + line * ROW}">{words}</text>')
    parts.append(f'<text x="10" y="{y}">dot: mean,</text>')
    parts.append(f'<text x="10" y="{y + ROW}">bar: 90 % of searches</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Train, collect or replay."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["train", "collect", "replay"])
    parser.add_argument("--searches", type=int, default=200, help="of each kind and table")
    parser.add_argument("--folder", type=Path, default=Path("honesty"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=PROBLEMS, nargs="*", default=list(PROBLEMS))
    given = parser.parse_args()
    if given.what == "train":
        train(given.folder, given.only)
    elif given.what == "replay":
        replay(given.searches, given.only, given.output)
    else:
        TABLES.write_text(json.dumps(collect(given.folder)) + "\n")


if __name__ == "__main__":
    main()
