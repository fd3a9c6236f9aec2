"""Folders of images: what they become, which splits they bring, what is wrong with one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from devices import DEVICE
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.data.sources import load
from lrsearch.data.splitting import split
from lrsearch.errors import DataError, DataErrors
from lrsearch.store import read as read_run

Image = pytest.importorskip("PIL.Image")
DIGITS = load_digits()
PIXELS = (DIGITS.images * 15.9).astype(np.uint8)
RNG = np.random.default_rng(0)


def config(source, **given):
    """A resolved `data` of images."""
    own = {"name": "images", "source": str(source), "size": None, "resize": "crop"}
    own |= {"channels": 1, "samples": None, "validation": 0.25, "test": None}
    own |= {"standardize": False, "split_seed": 0}
    return {**own, **given}


def raw_of(source, **given):
    return load(config(source, **given), resolver=lambda path: None)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def write(folder, rows=range(60), ending=".png"):
    """Digits in a folder for each; the file's name is the row's."""
    for row in rows:
        save(folder / f"c{DIGITS.target[row]}" / f"{row:04}{ending}", PIXELS[row])
    return folder


def noise(height, width, *channels):
    return RNG.integers(0, 256, (height, width, *channels), dtype=np.uint8)


def pair(folder, first, second, **options):
    """Two classes: two of one image in the first, two of another in the second."""
    for name, pixels in (("a", first), ("b", second)):
        for copy in range(2):
            save(folder / name / f"{copy}.png", pixels, **options)
    return folder


# what a folder becomes


def test_images_are_scaled_and_in_the_order_of_their_paths(tmp_path):
    raw = raw_of(write(tmp_path / "digits"))
    order = sorted(range(60), key=lambda row: (DIGITS.target[row], row))
    assert raw.x.dtype == np.float32 and raw.x.shape == (60, 1, 8, 8)
    # As uint8 images of an archive are.
    np.testing.assert_array_equal(raw.x[:, 0], PIXELS[order].astype(np.float32) / np.float32(255))
    assert raw.y.tolist() == DIGITS.target[order].tolist()
    assert (raw.task, raw.outputs, raw.held, raw.tested) == ("classification", 10, None, None)
    assert raw.labels == tuple(f"c{digit}" for digit in range(10))
    assert raw.notes == () and raw.names == ()
    colours = raw_of(tmp_path / "digits", channels=3)
    np.testing.assert_array_equal(colours.x, np.repeat(raw.x, 3, axis=1))


def test_the_hash_is_of_the_pixels_and_classes(tmp_path):
    one = raw_of(write(tmp_path / "a"))
    assert raw_of(write(tmp_path / "b", ending=".BMP")).data_hash == one.data_hash
    (tmp_path / "a").rename(tmp_path / "elsewhere")
    path = tmp_path / "elsewhere" / "c0" / "0000.png"
    assert raw_of(tmp_path / "elsewhere").data_hash == one.data_hash
    seen = {one.data_hash}
    # In place, in the same process: what is kept of the folder is not taken for the new one.
    changed = PIXELS[0].copy()
    changed[3, 3] ^= 1
    save(path, changed)
    seen.add(raw_of(tmp_path / "elsewhere").data_hash)
    save(path, PIXELS[0])
    assert raw_of(tmp_path / "elsewhere").data_hash == one.data_hash
    path.rename(tmp_path / "elsewhere" / "c1" / "0000.png")
    seen.add(raw_of(tmp_path / "elsewhere").data_hash)
    assert len(seen) == 3


def test_other_files_are_left_out_and_counted(tmp_path):
    plain = raw_of(write(tmp_path / "a"))
    (tmp_path / "a" / "c1" / "notes.txt").write_text("mine")
    (tmp_path / "a" / "c1" / ".hidden.png").write_text("no image")
    (tmp_path / "a" / ".git").mkdir()
    (tmp_path / "a" / "c2" / "deeper").mkdir()
    os.mkfifo(tmp_path / "a" / "c3" / "pipe.png")  # to open it would be to wait
    save(tmp_path / "a" / "cover.png", PIXELS[0])
    raw = raw_of(tmp_path / "a")
    assert raw.data_hash == plain.data_hash
    assert raw.notes == (
        "left out: 3 files that are no images of a class, such as cover.png",
        "left out: 1 folder inside a class folder",
    )


def test_a_size_by_cropping_and_by_stretching(tmp_path):
    """A wide image: black, in its middle third white. A tall one the same, turned."""
    wide = np.zeros((12, 36), np.uint8)
    wide[:, 12:24] = 255
    folder = pair(tmp_path / "a", wide, wide.T.copy())
    with pytest.raises(DataError, match=r"the image is 36x12, but a/0\.png is 12x36"):
        raw_of(folder)
    cropped = raw_of(folder, size=[6, 6]).x
    assert cropped.shape == (4, 1, 6, 6) and (cropped[:, :, 1:5, 1:5] == 1).all()
    stretched = raw_of(folder, size=[6, 6], resize="stretch").x[0, 0]
    assert (stretched[:, [0, 5]] == 0).all() and (stretched[:, 2:4] > 0.8).all()
    assert raw_of(folder, size=[4, 8], channels=3).x.shape == (4, 3, 4, 8)
    larger = raw_of(pair(tmp_path / "b", noise(1, 1), noise(1, 1)), size=[5, 5]).x
    assert (np.ptp(larger, axis=(1, 2, 3)) == 0).all()
    assert raw_of(tmp_path / "b").x.shape == (4, 1, 1, 1)


def test_an_image_that_has_the_size_is_left_as_it_is(tmp_path):
    folder = write(tmp_path / "a")
    for resize in ("crop", "stretch"):
        sized = raw_of(folder, size=[8, 8], resize=resize)
        assert sized.data_hash == raw_of(folder).data_hash


def test_a_large_jpeg_is_the_same_picture_when_decoded_smaller(tmp_path):
    board = np.kron(RNG.integers(0, 256, (12, 16)), np.ones((40, 40))).astype(np.uint8)
    pixels = np.stack([board, board.T.reshape(board.shape), board[::-1]], -1)
    for name in "ab":
        for copy in range(2):
            save(tmp_path / "jpg" / name / f"{copy}.jpg", pixels, quality=95, subsampling=0)
            save(tmp_path / "png" / name / f"{copy}.png", pixels)
    for size in ([24, 32], [100, 150], [200, 10]):  # of 480x640
        given = {"size": size, "channels": 3}
        left, right = (raw_of(tmp_path / name, **given).x for name in ("jpg", "png"))
        assert np.abs(left - right).mean() < 0.015


RED = (200, 10, 20)


def special():
    """Images of every kind, their options, and the pixel they should be: red, or grey 100."""
    red, grey = Image.new("RGB", (3, 2), RED), Image.new("L", (3, 2), 100)
    clear = Image.new("RGBA", (3, 2), (*RED, 0))
    half = Image.new("RGBA", (3, 2), (0, 0, 0, 128))
    palette = red.quantize(4)
    hole = Image.new("P", (3, 2), 1)
    hole.putpalette([0, 0, 0, *RED])
    deep = Image.fromarray(np.full((2, 3), 100 * 256 + 77, np.uint16))
    yield "palette.png", palette, {}, RED
    yield "palette.gif", palette, {}, RED
    yield "frames.gif", red, {"save_all": True, "append_images": [grey]}, RED
    yield "pages.tiff", red, {"save_all": True, "append_images": [grey]}, RED
    yield "clear.png", clear, {}, (255, 255, 255)
    yield "hole.png", hole, {"transparency": 1}, (255, 255, 255)
    yield "opaque.png", hole, {"transparency": 0}, RED
    yield "half.webp", half, {"lossless": True}, (127, 127, 127)
    yield "grey-alpha.png", Image.new("LA", (3, 2), (100, 255)), {}, (100, 100, 100)
    yield "bits.png", Image.new("1", (3, 2), 1), {}, (255, 255, 255)
    yield "deep.png", deep, {}, (100, 100, 100)
    yield "deep.tif", deep, {}, (100, 100, 100)
    yield "cmyk.tif", Image.new("CMYK", (3, 2), (0, 255, 255, 0)), {}, (255, 0, 0)
    yield "red.JPG", red, {"quality": 100, "subsampling": 0}, RED
    yield "red.bmp", red, {}, RED
    yield "misnamed.png", red, {"format": "JPEG", "quality": 100, "subsampling": 0}, RED


@pytest.mark.parametrize(
    ("name", "image", "options", "expected"),
    [pytest.param(*each, id=each[0]) for each in special()],
)
def test_every_kind_of_image(tmp_path, name, image, options, expected):
    for folder in "ab":
        for copy in range(2):
            save(tmp_path / "all" / folder / f"{copy}{name}", image, **options)
    x = raw_of(tmp_path / "all", channels=3).x
    assert x.shape == (4, 3, 2, 3)
    found = np.rint(x.transpose(0, 2, 3, 1).reshape(-1, 3) * 255)
    atol = 2 if "JP" in name or options.get("format") else 0
    np.testing.assert_allclose(found, np.tile(expected, (len(found), 1)), atol=atol)
    grey = raw_of(tmp_path / "all", channels=1).x
    luma = np.dot(expected, (0.299, 0.587, 0.114))
    np.testing.assert_allclose(grey * 255, luma, atol=2)


def test_the_camera_s_orientation_is_respected(tmp_path):
    upright = noise(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 270 degrees to see it upright
    turned = np.rot90(upright, 1)
    folder = pair(tmp_path / "a", upright, noise(4, 6, 3))
    save(folder / "b" / "2.png", np.ascontiguousarray(turned), exif=exif)
    raw = raw_of(folder, channels=3)
    np.testing.assert_array_equal(raw.x[4], raw.x[0])


# splits


def bring(tmp_path, **rows):
    for name, chosen in rows.items():
        write(tmp_path / name, chosen)
    return tmp_path


def test_a_folder_may_bring_validation_and_test(tmp_path):
    folder = bring(tmp_path, train=range(60), val=range(60, 120), test=range(200, 260))
    raw = raw_of(folder)
    assert raw.names == ("val/", "test/") and raw.validates

    def same(found, rows):
        order = sorted(rows, key=lambda row: (DIGITS.target[row], row))
        np.testing.assert_array_equal(np.rint(found.x[:, 0] * 255), PIXELS[order])
        assert found.y.tolist() == DIGITS.target[order].tolist()

    splits = split(raw, config(folder, validation="source", test="source"), None)
    same(splits.train, range(60))
    same(splits.validation, range(60, 120))
    same(splits.test, range(200, 260))
    own = split(raw, config(folder, validation=0.25, test="source"), None)
    assert (len(own.train), len(own.validation)) == (45, 15)
    same(own.test, range(200, 260))
    same(split(raw, config(folder, validation="source", test=0.2), None).validation, range(60, 120))
    # A test image decides what was measured as others do.
    save(folder / "test" / "c0" / "9999.png", PIXELS[0])
    assert raw_of(folder).data_hash != raw.data_hash


@pytest.mark.parametrize("name", ["val", "validation", "valid", "dev", "test"])
def test_one_split_beside_train_serves_as_either(tmp_path, name):
    folder = bring(tmp_path, train=range(60), **{name: range(60, 110)})
    raw = raw_of(folder)
    assert raw.names == (f"{name}/",) and raw.validates is (name != "test")
    for given in ({"validation": "source"}, {"test": "source"}):
        splits = split(raw, config(folder, **given), None)
        held = splits.validation if "validation" in given else splits.test
        assert len(held) == 50
    with pytest.raises(DataError, match="are both the source's own split"):
        split(raw, config(folder, validation="source", test="source"), None)


def test_names_of_splits_may_be_classes(tmp_path):
    for name in ("train", "bus", "car"):
        for copy in range(3):
            save(tmp_path / "a" / name / f"{copy}.png", noise(2, 2))
    raw = raw_of(tmp_path / "a")
    assert raw.labels == ("bus", "car", "train") and raw.held is None
    assert len(raw_of(bring(tmp_path / "b", train=range(60))).x) == 60  # no other split


def test_samples_are_spread_over_classes_and_files(tmp_path):
    folder = tmp_path / "a"
    for name, count in (("rare", 3), ("some", 20), ("many", 40)):
        for index in range(count):
            save(folder / name / f"{index:02}.png", np.full((2, 2), index, np.uint8))
    raw = raw_of(folder, samples=23)
    values = [np.rint(raw.x[raw.y == code, 0, 0, 0] * 255).tolist() for code in range(3)]
    assert raw.labels == ("many", "rare", "some")
    assert values == [list(range(0, 40, 4)), [0, 1, 2], list(range(0, 20, 2))]
    assert (np.diff(raw.y) >= 0).all()
    assert raw.taken == "of 63, as many of each class as there are"
    assert len(raw_of(folder, samples=63).x) == 63
    # Only those are read.
    (folder / "many" / "01.png").write_bytes(b"")
    assert raw_of(folder, samples=23).data_hash == raw.data_hash
    bring(tmp_path / "b", train=range(60), test=range(60, 110))
    part = raw_of(tmp_path / "b", samples=20)
    assert np.bincount(part.y).tolist() == [2] * 10 and len(part.held) == 50


# training

SPEC = """\
name: pictures
data: {name: images, source: digits, channels: 1, standardize: true}
model: {name: cnn, channels: [8]}
train: {budget: 4ep, batch_size: 32, optimizer: {name: sgd, momentum: 0.9}}
search: {lr: [0.02, 0.1]}
"""
INLINE = ("--executor", "inline", "--device", str(DEVICE))


class Said:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, " ".join(err.split())
        assert "Traceback" not in out + err

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"


def lrsearch(*arguments):
    done = CliRunner().invoke(
        app, [*map(str, arguments)], env={"COLUMNS": "300"}, catch_exceptions=False
    )
    return Said(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures.yaml").write_text(SPEC)
    return tmp_path


def test_a_search_on_images_learns_fused_as_alone(here):
    bring(here / "digits", train=range(600), val=range(600, 900), test=range(900, 1000))
    found = {}
    for engine in ("solo", "fused"):
        said = lrsearch(
            "grid", "pictures.yaml", *INLINE, "--engine", engine, "--fresh", "--json",
            "--set", "data.validation=source", "--set", "data.test=source",
        )  # fmt: skip
        assert said.code == 0, said
        assert (
            "600 samples of shape (1, 8, 8), 10 classes (c0 ... c9); "
            "validation: its own part (val/), 300 samples; test: its own part (test/), 100 samples"
        ) in said.err
        found[engine] = json.loads(said.out)["best"]["objective"]
    assert found["solo"] > 0.85
    assert found["fused"] == pytest.approx(found["solo"], abs=0.02)


def test_results_follow_the_pixels_and_not_the_path(here):
    def measured(*sets):
        arguments = [part for each in sets for part in ("--set", each)]
        said = lrsearch("grid", "pictures.yaml", *INLINE, "--engine", "solo", *arguments)
        return said, len(read_run(here / "runs" / "pictures").results)

    write(here / "digits", range(150))
    assert measured()[1] == 2
    (here / "digits").rename(here / "moved")
    source = "data.source=moved"
    said, count = measured(source)
    assert (said.code, count) == (0, 2)
    # The digits have this size: the pixels are the same, and yet it is another way to them.
    said, _ = measured(source, "data.size=8")
    assert said.code == 2 and "data.size: null stored, [8, 8] in the spec" in said.err
    assert measured(source, "data.size=[8, 8]", "name=sized")[0].code == 0
    save(here / "moved" / "c3" / "0003.png", PIXELS[0])
    said, _ = measured(source)
    assert said.code == 2 and "data" in said.err


# what is wrong


def one_image(folder):
    save(folder / "c77" / "x.png", PIXELS[0])


def cut_short(folder):
    path = folder / "c3" / "0003.png"
    path.write_bytes(path.read_bytes()[:-30])
    (folder / "c4" / "0004.png").write_bytes(b"")
    (folder / "c5" / "0005.png").write_text("hello, this is text")


def postscript(folder):
    (folder / "c0" / "0000.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")


def link(name, target):
    return lambda folder: (folder / name).symlink_to(target)


BAD = {
    "a class without images": (
        lambda folder: (folder / "emu").mkdir(),
        "digits: class folder without images: 'emu'",
    ),
    "a class of folders": (
        lambda folder: (folder / "emu" / "young").mkdir(parents=True),
        "class folder without images: 'emu' (it holds folders, such as 'young')",
    ),
    "a class with one image": (
        one_image,
        "c77/x.png: class 'c77' has one image only: it cannot be in training and in validation",
    ),
    "damaged files": (
        cut_short,
        "c3/0003.png: the image cannot be read: image file is truncated",
    ),
    "the other damaged files": (cut_short, "nor can c4/0004.png, c5/0005.png"),
    "a format that starts a program": (
        postscript,
        "c0/0000.png: the image cannot be read: it is no PNG, JPEG, BMP, GIF, WebP or TIFF inside",
    ),
    "two sizes": (
        lambda folder: save(folder / "c9" / "z.png", noise(9, 8)),
        "c9/z.png: the image is 9x8, but c0/0000.png is 8x8 (height x width): "
        "without a size all need the same write size: 32",
    ),
    "two sizes and a damaged file": (
        lambda folder: (save(folder / "c9" / "z.png", noise(9, 8)), cut_short(folder)),
        "c9/z.png: the image is 9x8, but c0/0000.png is 8x8",
    ),
    "the damaged file beside two sizes": (
        lambda folder: (save(folder / "c9" / "z.png", noise(9, 8)), cut_short(folder)),
        "c3/0003.png: the image cannot be read: image file is truncated",
    ),
    "32 bits": (
        lambda folder: save(folder / "c1" / "z.tif", np.ones((8, 8), np.float32)),
        "c1/z.tif: the image cannot be read: its pixels are 32-bit floating-point numbers",
    ),
    "a link to itself": (
        link("loop", "loop"),
        "digits/loop: it cannot be read: Too many levels of symbolic links",
    ),
    "a link upwards": (link("up", ".."), "class folder without images: 'up'"),
    "a link to nowhere": (link("c0/0.png", "gone.png"), "c0/0.png: the image cannot be read: it"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_folders(here, what):
    damage, message = BAD[what]
    damage(write(here / "digits"))
    said = lrsearch("grid", "pictures.yaml", *INLINE)
    assert said.code == 2 and message in said.err, said
    assert not (here / "runs").exists()


PLACES = {
    "photso": "there is no such folder did you mean",
    "none": "there is no such folder one folder per class is expected, such as photos/cat/1.png",
    "file.zip": "a file, not a folder of images unpack it",
    "flat": "flat: there are no class folders: 2 images stand in it directly",
    "nothing": "nothing: there are no class folders: it is empty",
    "single": "single: there is one class folder only: 'cat'",
    "packed": "there is one class folder only: 'photos' write source:",
    "capital": "folders of splits are named train, and val, validation, valid, dev, test",
    "few": "few: val has no class folder 'dog', which train has",
    "fewer": "fewer: val has no class folder 'dog', which train has",
    "more": "more: train has no class folder 'emu', which val has train has: 'cat', 'dog'",
    "double": "double: there are val and validation: which is the validation split?",
    "beside": "beside 'train', 'val' there is a folder that is no split: 'labels'",
}


@pytest.mark.parametrize("place", PLACES)
def test_folders_of_another_kind(tmp_path, place):
    def put(*names):
        for name in names:
            for copy in range(2):
                save(tmp_path / place / name / f"{copy}.png", noise(2, 2))

    def both(*names):
        put(*(f"{name}/{each}" for name in names for each in ("cat", "dog")))

    {
        "photso": lambda: (tmp_path / "photos").mkdir(),
        "none": lambda: None,
        "file.zip": lambda: (tmp_path / place).write_bytes(b"PK"),
        "flat": lambda: put("."),
        "nothing": lambda: (tmp_path / place).mkdir(),
        "single": lambda: put("cat"),
        "packed": lambda: both("photos"),
        "capital": lambda: both("Train", "Test"),
        "few": lambda: put("train/cat", "train/dog", "train/emu", "val/cat", "val/emu"),
        "fewer": lambda: (both("train"), put("val/cat")),
        "more": lambda: (both("train", "val"), put("val/emu")),
        "double": lambda: both("train", "val", "validation"),
        "beside": lambda: both("train", "val", "labels"),
    }[place]()
    with pytest.raises(DataError) as caught:
        raw_of(tmp_path / place)
    assert PLACES[place] in " ".join(str(caught.value).split())


def test_classes_that_are_missing_and_images_that_are_none_are_told_at_once(tmp_path):
    for name in ("train/cat", "train/dog", "val/cat"):
        save(tmp_path / name / "0.png", noise(2, 2))
        (tmp_path / name / "1.png").write_text("no image")
    with pytest.raises(DataErrors) as caught:
        raw_of(tmp_path)
    missing, unread = caught.value.errors
    assert missing.message == "val has no class folder 'dog', which train has"
    assert unread.hint.startswith("nor can train/dog/1.png, val/cat/1.png: replace")


def test_too_large_for_the_memory_is_said_before_decoding(tmp_path):
    folder = write(tmp_path / "a")
    (folder / "c0" / "0000.png").write_bytes(b"")  # decoding would find it
    with pytest.raises(DataError, match=r"60 images of 3x65535x65535 take 2,879\.\d GiB as float"):
        raw_of(folder, size=[65535, 65535], channels=3)


def test_samples_that_there_are_not(tmp_path):
    folder = write(tmp_path / "a")
    with pytest.raises(DataError, match="samples is 61, there are 60 images"):
        raw_of(folder, samples=61)
    with pytest.raises(DataError, match="samples is 9, fewer than the 10 classes"):
        raw_of(folder, samples=9)
    with pytest.raises(DataError, match="no split of their own"):
        split(raw_of(folder), config(folder, validation="source", test="source"), None)


@pytest.mark.parametrize("locked", ["c3", "c3/0003.png"])
def test_what_may_not_be_read(tmp_path, locked):
    folder = write(tmp_path / "a")
    (folder / locked).chmod(0)
    try:
        if os.access(folder / locked, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(DataError, match=rf"{locked}: .*cannot be read: Permission denied"):
            raw_of(folder)
    finally:
        (folder / locked).chmod(0o755)


def test_a_name_that_is_no_text_can_be_shown(tmp_path):
    folder = write(tmp_path / "a")
    name = os.fsdecode(b"\xff\x1b[31m.png")
    (folder / "c0" / name).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        raw_of(folder)
    str(caught.value).encode()
    assert "c0/\ufffd\ufffd[31m.png: the image cannot be read: the file is empty" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("size=0", "0 is not a whole number from 1 up to 65535 or a list of two, [height, width]"),
        ("size=[1, 2, 3]", "[1, 2, 3] is not a whole number from 1"),
        ("size=8.5", "8.5 is not a whole number from 1"),
        ("size=true", "true is not a whole number from 1"),
        ("channels=4", "4 is not one of 1, 3"),
        ("resize=crp", "'crp' is not one of stretch, crop; did you mean 'crop'?"),
        ("samples=1", "1 is too small"),
        ("sise=8", "write --set data.size=8; allowed: "),
    ],
)
def test_bad_values_are_found_without_the_folder(here, given, message):
    said = lrsearch("check", "pictures.yaml", "--set", f"data.{given}")
    assert said.code == 2 and message in said.err, said


def test_without_pillow_it_says_so(here):
    write(here / "digits", range(40))
    (here / "blocked" / "PIL").mkdir(parents=True)
    (here / "blocked" / "PIL" / "__init__.py").write_text("raise ImportError('none here')")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "lrsearch", "grid", "pictures.yaml", *INLINE],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": f"blocked{os.pathsep}{root}"},
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "Pillow, which is not installed" in " ".join(done.stderr.split())
    assert "pip install 'lrsearch[images]'" in done.stderr
