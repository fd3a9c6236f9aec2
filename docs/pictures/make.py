"""Make the pictures of README.md from a run, by the functions that its commands use:

    python docs/pictures/make.py

It is the run of README's example. Its journal is `digits.jsonl.gz`: that of `lrsearch bayes
configs/digits.yaml`, with another folder and no name of a processor. Nothing is trained
again for other words in a report; `tests/test_docs.py` holds the example and the terminal's picture
against what is printed of it.

`terminal.svg` is the beginning of `lrsearch report`, as Rich draws it, without the font that it
would load from the network; `page.webp` a part of `lrsearch report --html` as Chromium shows it.
It needs Chromium with its driver, and `pip install -c constraints.txt -e '.[test,images]'`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import tempfile
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.segment import Segment, Segments

from lrsearch.cli.paging import gather
from lrsearch.cli.stored import StoredRun, open_to_report, view_run
from lrsearch.reports.page import write_page
from lrsearch.reports.tables import result
from lrsearch.reports.view import RunView

HERE = Path(__file__).resolve().parent

COLUMNS, LINES = 100, 52
"""Characters and lines of the terminal's picture."""

SIZE = (1120, 800)
"""The width and the height of the page's picture, in pixels."""

FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"


def read_run(folder: Path) -> StoredRun:
    """The run of README's example, its files written into the folder, where the process goes: the
    commands that it shows are those of one who stands beside `configs/`."""
    kept = folder / "runs" / "digits"
    kept.mkdir(parents=True)
    (folder / "configs").mkdir()
    spec = HERE.parents[1] / "configs" / "digits.yaml"
    for path in (kept / "spec.yaml", folder / "configs" / "digits.yaml"):
        path.write_bytes(spec.read_bytes())
    versions = {"torch": "2.13.0+cpu", "numpy": "2.4.6", "python": "3.11.7"}
    about = {"format": 1, "lrsearch": "0.1.0", "versions": versions, "device": "cpu"}
    (kept / "run.json").write_text(json.dumps({**about, "device_name": "CPU"}))
    (kept / "journal.jsonl").write_bytes(gzip.decompress((HERE / "digits.jsonl.gz").read_bytes()))
    os.chdir(folder)
    run = open_to_report("configs/digits.yaml", Path("runs"))
    assert isinstance(run, StoredRun)
    return run


def draw_terminal(view: RunView, title: str) -> str:
    """The beginning of a report as SVG, which loads nothing and brings its own background."""
    console = Console(
        record=True,
        width=COLUMNS,
        height=24,
        force_terminal=True,
        color_system="truecolor",
        file=io.StringIO(),
    )
    lines = console.render_lines(result(view), pad=False)
    for line in islice(lines, LINES):
        console.print(Segments([*line, Segment.line()]), end="")
    drawn = console.export_svg(title=title, unique_id="lrsearch")
    drawn = re.sub(r"<!--.*?-->\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"font-family: [^;]*;", f"font-family: {FONTS};", drawn)
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def photograph(text: str, path: Path) -> None:
    """Write the figure of the rates as a browser shows it."""
    from PIL import Image
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    width, height = SIZE
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(text, "utf-8")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in ("headless=new", "no-sandbox", "hide-scrollbars", "disable-dev-shm-usage"):
            options.add_argument(f"--{flag}")
        browser = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
            )
            browser.get(f"{page.as_uri()}#rate")
            shot = browser.get_screenshot_as_png()
        finally:
            browser.quit()
    Image.open(io.BytesIO(shot)).convert("RGB").save(path, quality=82, method=6)


def main() -> None:
    """Make both."""
    with tempfile.TemporaryDirectory() as folder:
        run = read_run(Path(folder))
        view = view_run(run)
        terminal = draw_terminal(view, f"lrsearch report {view.name}")
        (HERE / "terminal.svg").write_text(terminal, "utf-8")
        photograph(write_page(view, gather(run, view)), HERE / "page.webp")
    for name in ("terminal.svg", "page.webp"):
        print(f"{name}: {(HERE / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
