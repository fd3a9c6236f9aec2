"""What the documentation promises, held against the catalogue and the command line."""

from __future__ import annotations

import html
import io
import re
import runpy
from pathlib import Path

import pytest
from rich.console import Console

from lrsearch import catalogue
from lrsearch.catalogue import REQUIRED, Parameter
from lrsearch.reports.tables import result
from lrsearch.spec import read_spec
from lrsearch.spec.validate import TOP_LEVEL
from lrsearch.trial import Outcome

ROOT = Path(__file__).parent.parent
SPEC = (ROOT / "docs" / "spec.md").read_text()
RUNS = (ROOT / "docs" / "runs.md").read_text()
README = (ROOT / "README.md").read_text()

TABLES: dict[str, dict[str, Parameter]] = {
    "train": catalogue.TRAIN,
    "warmup": catalogue.WARMUP,
    "splitting": catalogue.SPLITTING,
    "imported": catalogue.IMPORTED,
    "confirm": catalogue.SETTINGS["confirm"],
    **{name: dict(source.parameters) for name, source in catalogue.DATA.items()},
}
for _group in catalogue.GROUPS.values():
    TABLES |= {name: dict(entry.parameters) for name, entry in _group.items()}
TABLES |= {name: dict(entry.parameters) for name, entry in catalogue.TRANSFORMS.items()}
TABLES |= {name: dict(entry.parameters) for name, entry in catalogue.PRUNING.items()}


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


@pytest.mark.parametrize("table", TABLES)
def test_every_parameter_is_documented_with_its_default(table: str) -> None:
    listed = [(cells[0], cells[1]) for cells in rows(SPEC) if len(cells) == 3]
    for name, parameter in TABLES[table].items():
        default = parameter.default
        if default is REQUIRED:
            shown = "required"
        elif default is None:
            shown = "`null`"
        elif isinstance(default, bool):
            shown = f"`{str(default).lower()}`"
        elif isinstance(default, tuple):
            shown = "`[" + ", ".join(map(str, default)) + "]`"
        else:
            shown = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        assert (f"`{name}`", shown) in listed, f"{table}.{name}"


def test_every_name_is_documented() -> None:
    first = {cells[0] for cells in rows(SPEC)}
    named = set(re.findall(r"^`(\w+)`: ", SPEC, re.MULTILINE))
    for name in (*catalogue.DATA, *catalogue.METRICS, *catalogue.LOSSES, *TOP_LEVEL):
        assert f"`{name}`" in first, name
    for group in (*catalogue.GROUPS.values(), catalogue.TRANSFORMS, catalogue.PRUNING):
        assert set(group) <= named
    for outcome in Outcome:
        assert f"`{outcome}`" in RUNS


def test_the_readme_s_spec_is_one(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(name: .*?)```", README, re.DOTALL)
    assert blocks
    path = tmp_path / "readme.yaml"
    path.write_text(blocks[0])
    assert read_spec(path).space


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_the_configs_are_specs(path: Path) -> None:
    assert read_spec(path).space


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def _checked(path: Path, text: str) -> None:
    """What a document shows a part of, within a whole spec."""
    whole = "name: shown\ndata: digits\nmodel: mlp\n"
    own = "command:" in text or "loop:" in text
    path.write_text(("name: shown\n" if own else whole) + text)
    assert read_spec(path, () if own else ("train.budget=1ep", "train.lr=0.1"))


def test_parts_of_specs_that_documents_show_are_sound(tmp_path: Path) -> None:
    shown = [
        block
        for text in (README, SPEC)
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
        if not block.startswith(("name:", "jobs:"))
    ]
    assert len(shown) >= 5
    for block in shown:
        _checked(tmp_path / "shown.yaml", block)
    listed = re.findall(r"`(transforms: \[.+?\])`", README + SPEC, re.DOTALL)
    assert len(listed) == 2
    for each in listed:
        (tmp_path / "shown.yaml").write_text(
            f"name: shown\ndata: {{name: digits, {' '.join(each.split())}}}\nmodel: cnn\n"
            "train: {budget: 1ep, lr: 0.1}\n"
        )
        assert read_spec(tmp_path / "shown.yaml").data["transforms"]


def test_the_readme_s_data_are_data(tmp_path: Path) -> None:
    """Each form of its table, as far as a spec that is not run can tell."""
    forms = re.findall(r"^\| `(\{(?:name|class_path): .+?\})` \|", README, re.MULTILINE)
    assert len(forms) == 5
    for each in forms:
        model = "char_transformer" if "text" in each else "mlp"
        (tmp_path / "shown.yaml").write_text(
            f"name: shown\ndata: {each}\nmodel: {model}\ntrain: {{budget: 1ep, lr: 0.1}}\n"
        )
        assert read_spec(tmp_path / "shown.yaml").data


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_map_of_the_code_names_files_that_are_there():
    code = ROOT / "lrsearch"
    named = set(re.findall(r"`([a-z_./]+(?:\.py|\.md|/))`", ARCHITECTURE))
    places = (ROOT, code, *(code / room for room in ("train", "tuner", "spec", "reports")))
    assert len(named) > 40
    assert [name for name in named if not any((at / name).exists() for at in places)] == []


@pytest.mark.parametrize("room", ["tuner", "spec", "reports"])
def test_the_map_of_a_room_names_all_of_its_files(room: str) -> None:
    table = ARCHITECTURE.split(f" of `{room}/` |", 1)[1].split("\n\n", 1)[0]
    there = {path.name for path in (ROOT / "lrsearch" / room).glob("*.py")} - {"__init__.py"}
    assert there <= set(re.findall(r"`([a-z_]+\.py)`", table))


@pytest.mark.parametrize("row", rows(ARCHITECTURE[ARCHITECTURE.index("## To add") :])[2:])
def test_what_is_added_is_added_in_the_package_and_tested(row):
    _, places, test = row
    assert "`lrsearch/" in places and "`tests/" in test


def test_pictures_are_small_described_and_load_nothing() -> None:
    found = re.findall(r"!\[([^]]+)]\(([^)]+)\)", README)
    files = [ROOT / path for _, path in found]
    assert [file.name for file in files] == ["terminal.svg", "page.webp"]
    for (words, _), file in zip(found, files, strict=True):
        assert len(words) > 100 and 0 < file.stat().st_size < 150_000
    drawn = files[0].read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "lrsearch&#160;report" in drawn and "◆" in drawn
    outside = re.findall(r"https?:|//|@import|@font-face|<script|<image|href|url\((?!#)", drawn)
    assert outside == []


def drawn_lines(picture: str) -> list[str]:
    """The lines of a terminal's picture."""
    lines: dict[str, str] = {}
    for height, words in re.findall(r'<text [^>]* y="([^"]+)"[^>]*>([^<]*)</text>', picture):
        lines[height] = lines.get(height, "") + html.unescape(words)
    return [line.replace("\xa0", " ").rstrip() for line in lines.values()]


def test_readme_and_its_picture_show_what_the_command_prints(tmp_path, monkeypatch) -> None:
    """Of the run that they are of, whose journal stands beside the picture: `make.py` there makes
    the picture anew, and the example is what it shows."""
    monkeypatch.chdir(tmp_path)  # And back, after it.
    make = runpy.run_path(str(ROOT / "docs/pictures/make.py"))
    view = make["view_run"](make["read_run"](tmp_path))
    printed = drawn_lines(make["draw_terminal"](view, "lrsearch report digits"))
    kept = drawn_lines((ROOT / "docs/pictures/terminal.svg").read_text("utf-8"))
    assert kept == printed
    console = Console(width=make["COLUMNS"], file=io.StringIO())
    console.print(result(view))
    lines = iter([line.rstrip() for line in console.file.getvalue().splitlines()])
    shown = README.split("```\ndigits: ", 1)[1].split("```", 1)[0].splitlines()
    shown[0] = f"digits: {shown[0]}"
    told = [line for line in shown if line.strip() not in ("", "...")]
    # Each stands there, in this order.
    assert len(told) > 20 and [line for line in told if line not in lines] == []
