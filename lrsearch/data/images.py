"""Folders of images, one folder a class, read with Pillow."""

from __future__ import annotations

import contextlib
import math
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lrsearch.data.tables import Array
from lrsearch.errors import Checks, DataError, DataErrors, nearest
from lrsearch.machine import find_memory

Pair = tuple[Array, Array]

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"))
"""Endings of files that are taken for images, in lower case."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""Formats Pillow may read: none of them starts another program, as EPS does."""
VALIDATION = ("val", "validation", "valid", "dev")
SPLITS = ("train", *VALIDATION, "test")
"""Names of folders that hold the class folders of a split."""

_CHUNK = 64
"""Images decoded ahead, and before a size that differs is said."""
_THREADS = 8
_EXPECTED = "one folder per class is expected, such as photos/cat/1.png and photos/dog/1.png"


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded images. `train`, and `held` and `tested` where the folder brings them, are uint8
    [samples, channels, height, width] and int64 [samples] into `labels`, the sorted names of the
    class folders. `held` is the validation split, or the only other one there is; `names` are the
    folders of `held` and `tested`, `taken` the indices of the training images, where not all are
    taken. `notes` are for the user."""

    train: Pair
    held: Pair | None
    tested: Pair | None
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    names: tuple[str, ...] = ()
    taken: str = ""

    def parts(self) -> list[Pair]:
        """The parts there are of train, held and tested, in this order."""
        return [part for part in (self.train, self.held, self.tested) if part is not None]


def read_images(
    source: str, size: Sequence[int] | None, resize: str, channels: int, samples: int | None = None
) -> Images:
    """The images of a folder of class folders, or of `train` and `val` or `test` folders of such.

    `size` is (height, width) in pixels, None for images that have one size; `resize` says how
    images are brought to it: "crop" cuts the largest centred part of its shape, "stretch" distorts.
    `samples` images are taken for training, as many of each class as there are, spread over its
    files. Images are in the order of their files' paths. Only these images are read. Raises
    DataError for a folder of another kind, classes that are empty or differ between splits, images
    that cannot be read or differ in size, and more of them than fit half the machine's memory as
    float32; also where Pillow is not installed.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise DataError(
            "image folders are read by Pillow, which is not installed",
            where=source,
            hint="pip install 'lrsearch[images]'",
        ) from error
    splits = _find_splits(source)
    labels = tuple(sorted(splits[0].classes))
    checks = Checks()
    for split in splits[1:]:
        for here, there in ((split, splits[0]), (splits[0], split)):
            checks.attempt(_check_same_classes, here, there, source)
    # Where classes are missing, the images of those that are there are looked at, too.
    own = [tuple(sorted(split.classes)) if checks.errors else labels for split in splits]
    chosen = [_order(split, names) for split, names in zip(splits, own, strict=True)]
    if samples is not None:
        chosen[0] = _spread(chosen[0], samples, labels, source)
    paths = [
        f"{split.folder}/{name}"
        for split, part in zip(splits, chosen, strict=True)
        for name, _ in part
    ]
    PIL.Image.init()  # Threads that all find the formats missing would load them at once.
    pixels = checks.attempt(_decode_all, paths, size, resize, channels, source)
    checks.settle()
    assert pixels is not None, "what no check refused was read"
    pairs: list[Pair] = []
    start = 0
    for part in chosen:
        stop = start + len(part)
        pairs.append((pixels[start:stop], np.array([code for _, code in part], np.int64)))
        start = stop
    held, tested, *_ = (*pairs[1:], None, None)
    notes = _describe(splits, size, resize)
    whole = sum(map(len, splits[0].classes.values()))
    taken = "" if len(chosen[0]) == whole else f"of {whole:,}, as many of each class as there are"
    names = tuple(split.name for split in splits[1:])
    return Images(pairs[0], held, tested, tuple(map(_shown, labels)), notes, names, taken)


def scale(pixels: Array) -> Array:
    """uint8 as float32 from 0 to 1."""
    scaled = np.empty(pixels.shape, np.float32)
    # No second array of floats beside this one.
    np.divide(pixels, np.float32(255), out=scaled, dtype=np.float32)
    return scaled


def folder_stamp(source: str) -> str:
    """A stamp that changes with any image of the folder: times and sizes of all files in it."""
    found = []

    def look(folder: str, depth: int) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    status = entry.stat()
                except OSError:
                    continue  # A link that leads nowhere.
                found.append((entry.path, status.st_mtime_ns, status.st_size))
                if depth and stat.S_ISDIR(status.st_mode):
                    look(entry.path, depth - 1)

    try:
        look(source, 2)
    except OSError:
        return ""  # Reading it says why.
    return str(hash(tuple(sorted(found))))


# which files there are


@dataclass(frozen=True)
class _Folder:
    """One folder's entries by name, without hidden ones."""

    path: str
    folders: tuple[str, ...]
    images: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class _Split:
    """Class folders and the names of their images; `ignored` are other files, as relative paths."""

    name: str
    folder: str
    classes: dict[str, tuple[str, ...]]
    ignored: tuple[str, ...]
    deeper: int


def _scan(path: str) -> _Folder:
    folders, images, others = [], [], []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(name)
                elif name[name.rfind(".") :].lower() in SUFFIXES and _is_file(entry):
                    images.append(name)
                else:
                    others.append(name)
    except OSError as error:
        raise DataError(
            f"it cannot be read: {error.strerror}", where=_shown(str(error.filename or path))
        ) from error
    return _Folder(path, *(tuple(sorted(names)) for names in (folders, images, others)))


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether there is a file to open. A link that leads nowhere counts: opening it gives the
    error. A pipe does not: opening it would wait for ever."""
    return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())


def _find_splits(source: str) -> list[_Split]:
    """The parts that a folder has: training first, then validation, then test."""
    path = Path(source)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        close = _neighbour(path)
        hint = f"did you mean {close}?" if close else _EXPECTED
        raise DataError("there is no such folder", where=_shown(source), hint=hint) from None
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}", where=source) from error
    if not is_folder:
        hint = f"{_EXPECTED}; source is photos"
        if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz"):
            hint = f"unpack it; {hint}"
        raise DataError("a file, not a folder of images", where=source, hint=hint)
    root = _scan(source)
    names = [name for name in root.folders if name in SPLITS]
    others = [name for name in root.folders if name not in SPLITS]
    if "train" not in names or (others and len(names) == 1):
        split = _read_split("", root)
        _check_two_each(split)
        return [split]
    if others:
        raise DataError(
            f"beside {_listed(names)} there is a folder that is no split: {_listed(others)}",
            where=source,
            hint=f"splits are folders named {', '.join(SPLITS)}, each with one folder per class; "
            "move other folders elsewhere",
        )
    held = [name for name in VALIDATION if name in names]
    if len(held) > 1:
        raise DataError(
            f"there are {' and '.join(held)}: which is the validation split?",
            where=source,
            hint="one such folder can be: rename or move the others",
        )
    wanted = ["train", *held, *(["test"] if "test" in names else [])]
    checks = Checks()
    read = [
        checks.attempt(lambda name=name: _read_split(name, _scan(f"{source}/{name}")))
        for name in wanted
    ]
    checks.settle()
    splits = [each for each in read if each is not None]
    if len(splits) == 1:
        _check_two_each(splits[0])
    ignored = (*splits[0].ignored, *root.images, *root.others)
    return [
        _Split("train", splits[0].folder, splits[0].classes, ignored, splits[0].deeper),
        *splits[1:],
    ]


def _neighbour(path: Path) -> str:
    """A folder beside a missing one whose name is close."""
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        close = nearest(path.name, sorted(each.name for each in entries if each.is_dir()))
        return _shown(str(path.parent / close)) if close else ""
    return ""


def _read_split(name: str, root: _Folder) -> _Split:
    where = _shown(root.path)
    if not root.folders:
        found = "no image is in it either" if root.others else "it is empty"
        if root.images:
            many = len(root.images) > 1
            found = f"{len(root.images):,} image{'s stand' if many else ' stands'} in it directly"
        raise DataError(f"there are no class folders: {found}", where=where, hint=_EXPECTED)
    inside = {each: _scan(f"{root.path}/{each}") for each in root.folders}
    if len(inside) == 1 and name in ("", "train"):  # Of another part the classes are compared.
        (only,) = inside.values()
        nested = not only.images and len(only.folders) > 1
        raise DataError(
            f"there is one class folder only: {_listed(root.folders)}",
            where=where,
            hint=f"write source: {_shown(only.path)}" if nested else _EXPECTED,
        )
    empty = [each for each, folder in inside.items() if not folder.images]
    if empty:
        raise DataError(_empty_message(empty, inside), where=where, hint=_empty_hint(empty, inside))
    prefix = f"{name}/" if name else ""
    ignored = [*root.images, *root.others]
    for each, folder in inside.items():
        ignored += [f"{each}/{other}" for other in folder.others]
    return _Split(
        name,
        root.path,
        {each: folder.images for each, folder in inside.items()},
        tuple(prefix + each for each in ignored),
        sum(len(folder.folders) for folder in inside.values()),
    )


def _empty_message(empty: Sequence[str], inside: dict[str, _Folder]) -> str:
    many = len(empty) > 1
    text = f"class folder{'s' if many else ''} without images: {_listed(empty)}"
    held = inside[empty[0]]
    if held.folders:
        return text + f" (it holds folders, such as {_shown(held.folders[0])!r})"
    return text + (f" (it holds {_shown(held.others[0])!r})" if held.others else "")


def _empty_hint(empty: Sequence[str], inside: dict[str, _Folder]) -> str:
    if any(
        each.lower() in ("train", "training", "test", "testing", *VALIDATION) for each in inside
    ):
        return f"folders of splits are named train, and {', '.join(SPLITS[1:])}"
    if inside[empty[0]].folders:
        return "images stand in the class folders directly; folders in them are not looked into"
    known = ", ".join(sorted(SUFFIXES))
    return f"images end in {known}; take away a folder that is no class"


def _check_two_each(split: _Split) -> None:
    alone = [name for name, images in split.classes.items() if len(images) == 1]
    if alone:
        many = len(alone) > 1
        raise DataError(
            f"{'classes' if many else 'class'} {_listed(alone)} "
            f"{'have' if many else 'has'} one image only: "
            "it cannot be in training and in validation",
            where=_shown(f"{split.folder}/{alone[0]}/{split.classes[alone[0]][0]}"),
            hint="add images, or take the folder away",
        )


def _check_same_classes(here: _Split, there: _Split, source: str) -> None:
    missing = [name for name in there.classes if name not in here.classes]
    if missing:
        raise DataError(
            f"{here.name} has no class folder{'s' if len(missing) > 1 else ''} "
            f"{_listed(missing)}, which {there.name} has",
            where=_shown(source),
            hint=f"{here.name} has: {_listed(list(here.classes))}; "
            "every split needs images of every class",
        )


def _order(split: _Split, labels: Sequence[str]) -> list[tuple[str, int]]:
    """Relative paths and class numbers, in the order of the paths as text."""
    return sorted(
        (f"{label}/{name}", code)
        for code, label in enumerate(labels)
        for name in split.classes[label]
    )


def _spread(
    part: list[tuple[str, int]], samples: int, labels: Sequence[str], source: str
) -> list[tuple[str, int]]:
    """The indices of so many images: equally many of each class as far as it has them, evenly over
    its files."""
    if samples > len(part):
        raise DataError(f"samples is {samples}, there are {len(part):,} images", where=source)
    if samples < len(labels):
        raise DataError(
            f"samples is {samples}, fewer than the {len(labels)} classes",
            where=source,
            hint="every class needs an image, and two to be in training and in validation",
        )
    by_class: list[list[tuple[str, int]]] = [[] for _ in labels]
    for each in part:
        by_class[each[1]].append(each)
    left = samples
    kept: list[tuple[str, int]] = []
    # The small classes first: what they lack the others make up for.
    order = sorted(range(len(labels)), key=lambda code: (len(by_class[code]), code))
    for done, code in enumerate(order):
        images = by_class[code]
        count = min(len(images), left // (len(labels) - done))
        kept += [images[index * len(images) // count] for index in range(count)]
        left -= count
    return sorted(kept)


# from files to pixels


def _decode_all(
    paths: Sequence[str], size: Sequence[int] | None, resize: str, channels: int, source: str
) -> Array:
    """uint8 [images, channels, height, width]."""
    pixels: Array | None = None
    first = ""
    failed: list[tuple[str, str]] = []
    odd: DataError | None = None
    if size is not None:
        pixels = _allocate((len(paths), channels, size[0], size[1]), sized=True, source=source)
    decode = partial(_try_decode, size=size, resize=resize, channels=channels)
    for index, (path, found) in enumerate(_in_order(decode, paths)):
        if isinstance(found, str):
            failed.append((path, found))
            continue
        if pixels is None:
            pixels = _allocate((len(paths), *found.shape), sized=False, source=source)
            first = path
        if found.shape != pixels.shape[1:]:
            odd = odd or DataError(
                f"the image is {_measure(found.shape)}, but "
                f"{_shown(os.path.relpath(first, source))} is {_measure(pixels.shape[1:])} "
                "(height x width): without a size all need the same",
                where=_shown(path),
                hint="write size: 32, or another, to bring them to one",
            )
            continue
        pixels[index] = found
    if failed:
        path, reason = failed[0]
        names = [_shown(os.path.relpath(each, source)) for each, _ in failed[1:6]]
        more = f" and {len(failed) - 6:,} more" if len(failed) > 6 else ""
        unread = DataError(
            f"the image cannot be read: {reason}",
            where=_shown(path),
            hint=f"nor can {', '.join(names)}{more}: replace them or take them away"
            if names
            else "it is the only one: replace it or take it away",
        )
        raise DataErrors([unread, odd]) if odd else unread
    if odd:
        raise odd
    assert pixels is not None, "a class folder has images"
    return pixels


def _in_order(
    decode: Callable[[str], Array | str], paths: Sequence[str]
) -> Iterator[tuple[str, Array | str]]:
    """Each path and its decoded image or error, a few decoded at a time: two threads are up to
    twice as fast as one for JPEGs, and no slower for other formats."""
    threads = min(_THREADS, len(os.sched_getaffinity(0)) if _CAN_ASK else os.cpu_count() or 1)
    # Pillow warns of odd metadata and of large images; unreadable images are errors here.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            yield from zip(chunk, pool.map(decode, chunk), strict=True)


_CAN_ASK = hasattr(os, "sched_getaffinity")


def _try_decode(path: str, size: Sequence[int] | None, resize: str, channels: int) -> Array | str:
    """The image as uint8 [channels, height, width], or the error."""
    import PIL

    try:
        return _decode(path, size, resize, channels)
    except PIL.UnidentifiedImageError:
        if not Path(path).stat().st_size:
            return "the file is empty"
        return "it is no PNG, JPEG, BMP, GIF, WebP or TIFF inside"
    except FileNotFoundError:
        return "it is a link that leads nowhere" if Path(path).is_symlink() else "it is gone"
    except OSError as error:
        return error.strerror or str(error)
    except Exception as error:  # A damaged file makes Pillow raise nearly anything.
        return f"{error}" or type(error).__name__


def _decode(path: str, size: Sequence[int] | None, resize: str, channels: int) -> Array:
    from PIL import Image, ImageOps

    with Image.open(path, formats=FORMATS) as file:
        if size is not None:
            # A large JPEG is decoded at an eighth to a half of its size, still twice what is
            # needed: six times as fast for a photograph.
            file.draft(None, (2 * max(size), 2 * max(size)))
        image = _plain(ImageOps.exif_transpose(file), channels, file.format)
    if size is not None:
        change = Image.Image.resize if resize == "stretch" else ImageOps.fit
        image = change(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    pixels: Array = np.asarray(image)
    return pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)


def _plain(image: Any, channels: int, kind: str | None) -> Any:
    """The image in grey or RGB, on white where it is transparent."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        # Of 16 bits the upper 8, as Pillow takes them of colours; it would cut off at 255.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        bits = "whole" if image.mode == "I" else "floating-point"
        raise ValueError(f"its pixels are 32-bit {bits} numbers, whose black and white are unknown")
    elif "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return image.convert("L" if channels == 1 else "RGB")


def _allocate(shape: tuple[int, ...], *, sized: bool, source: str) -> Array:
    """Allocate the images' array. Raises DataError where it would take more than half of the memory
    as float32."""
    needed, memory = 4 * math.prod(shape), find_memory()
    if needed > memory / 2:
        count, channels, height, width = shape
        raise DataError(
            f"{count:,} images of {channels}x{height}x{width} take {needed / 2**30:,.1f} GiB as "
            f"float32, more than half of this machine's {memory / 2**30:,.1f} GiB",
            where=source,
            hint=f"write a {'smaller size' if sized else 'size'}, such as size: 32"
            + (", or fewer samples, such as samples: 1000" if count > 1000 else "")
            + ", or name a Dataset of your own (class_path)",
        )
    return np.empty(shape, np.uint8)


# what is said


def _describe(splits: Sequence[_Split], size: Sequence[int] | None, resize: str) -> tuple[str, ...]:
    notes = []
    if size is not None:
        made = "cropped" if resize == "crop" else "stretched"
        notes.append(f"images are {made} to {size[0]}x{size[1]}")
    ignored = [name for split in splits for name in split.ignored]
    if ignored:
        many = "s that are no images" if len(ignored) > 1 else " that is no image"
        notes.append(
            f"left out: {len(ignored):,} file{many} of a class, such as {_shown(ignored[0])}"
        )
    deeper = sum(split.deeper for split in splits)
    if deeper:
        many = "s inside class folders" if deeper > 1 else " inside a class folder"
        notes.append(f"left out: {deeper:,} folder{many}")
    return tuple(notes)


def _measure(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[2]}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{_shown(name)}'" for name in names[:8])
    return shown + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")


def _shown(name: str) -> str:
    """A file's name as text that can be printed, even where its bytes are no UTF-8."""
    text = os.fsencode(name).decode(errors="replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
