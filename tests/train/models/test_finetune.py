"""Fine-tuning as configs/finetune_text.yaml has it: a small BERT that is pretrained here, on the
standard library's docstrings, and then told by few samples which part of it a text is about."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import DEVICE
from typer.testing import CliRunner

from lrsearch.cli import app

NEEDED = ("transformers", "safetensors")
"""Imported by the tests alone: it takes half a second, and each process collects all tests."""

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason=f"needs {', '.join(NEEDED)}"
)

CONFIG = Path(__file__).parents[3] / "configs" / "finetune_text.yaml"
NUMBERS = ("decimal", "fractions", "statistics")
WAITING = (
    *(f"asyncio.{name}" for name in ("base_events", "tasks", "locks", "queues", "streams")),
    *("asyncio.futures", "asyncio.events", "threading", "concurrent.futures._base"),
)
WORDS, SAMPLES, STEPS, TOKENS = 16, 200, 300, 28


def docstrings(module: str) -> list[str]:
    """Those of a module, of its own classes and functions, and of the classes' methods."""
    found = importlib.import_module(module)
    named = [value for _, value in sorted(vars(found).items())]
    own = [each for each in named if getattr(each, "__module__", None) == module]
    classes = [each for each in own if isinstance(each, type)]
    own += [value for each in classes for _, value in sorted(vars(each).items())]
    texts = {each.__doc__: None for each in [found, *own] if isinstance(each.__doc__, str)}
    return [text.partition(">>>")[0] for text in texts]


def pieces(modules: tuple[str, ...]) -> list[str]:
    """So many words at a time of the modules' docstrings, each once."""
    words = [text.split() for module in modules for text in docstrings(module)]
    parts = [each[at : at + WORDS] for each in words for at in range(0, len(each), WORDS)]
    return sorted({" ".join(part) for part in parts if len(part) >= WORDS // 2})


def pretrain(model: Any, ids: torch.Tensor, mask_id: int) -> None:
    """Masked language modelling (Devlin et al. 2019, section 3.1), on one thread."""
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    for step in range(STEPS):
        x = ids[torch.randint(len(ids), (48,))]
        # So many hidden, and so large batches, take the fewest steps. The first five are special.
        hidden = (torch.rand(x.shape) < 0.4) & (x > 4)
        states = model.bert(
            input_ids=torch.where(hidden, mask_id, x), attention_mask=(x != 0).long()
        ).last_hidden_state[hidden]
        loss = torch.nn.functional.cross_entropy(model.cls(states), x[hidden])
        optimizer.param_groups[0]["lr"] = 6e-3 * min((step + 1) / 50, 1.1 * (1 - step / STEPS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def vocabulary(texts: list[str]) -> list[str]:
    """A thousand tokens: the characters, and the most frequent words. (A vocabulary learned by
    `tokenizers` is another one each time.)"""
    words = Counter(re.findall(r"\w+|[^\w\s]", " ".join(texts).lower()))
    letters = sorted({letter for word in words for letter in word})
    found = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    found += [f"##{letter}" for letter in letters]
    often = sorted(words, key=lambda word: (-words[word], word))
    return [*found, *(word for word in often if len(word) > 1)][:1000]


TEXTS = {"numbers": NUMBERS, "waiting": WAITING}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT, `raw`, which has not been trained, and labelled `texts.csv`."""
    import transformers

    folder = tmp_path_factory.mktemp("finetune")
    texts = {label: pieces(modules) for label, modules in TEXTS.items()}
    (folder / "raw").mkdir()
    known = vocabulary([text for part in texts.values() for text in part])
    (folder / "raw" / "vocab.txt").write_text("\n".join(known), encoding="utf-8")
    tokenizer = transformers.BertTokenizerFast.from_pretrained(str(folder / "raw"))
    tokenizer.save_pretrained(folder / "raw")
    sizes = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,  # With BERT's 0.02 a net this narrow takes far longer to begin.
    )
    torch.manual_seed(0)
    transformers.BertForMaskedLM(sizes).save_pretrained(folder / "raw")
    rows = [(text, label) for label in texts for text in _some(texts[label])]
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return folder


@pytest.fixture(scope="module")
def encoder(place: Path) -> Path:
    """The same BERT, pretrained."""
    import transformers

    raw, folder = place / "raw", place / "encoder"
    tokenizer: Any = transformers.BertTokenizerFast.from_pretrained(str(raw))
    every = [text for modules in TEXTS.values() for text in pieces(modules)]
    options = {"truncation": True, "max_length": TOKENS, "padding": True, "return_tensors": "pt"}
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM.from_pretrained(raw)
    pretrain(model.train(), tokenizer(every, **options)["input_ids"], tokenizer.mask_token_id)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def _some(texts: list[str]) -> list[str]:
    return random.Random(0).sample(texts, SAMPLES)


def grid(place: Path, *given: str, more: tuple[str, ...] = ()) -> Any:
    folder = place / "raw"
    values = (
        f"data.init_args.folder={folder}",
        f"data.init_args.file={place / 'texts.csv'}",
        f"data.init_args.max_length={TOKENS}",
        "data.validation=0.9",  # 40 labelled samples to learn from
        f"model.init_args.folder={folder}",
        "train.batch_size=16",
        "train.layer_decay=0.9",
        "train.evaluate=12ep",
        *given,
    )
    arguments = ["grid", str(CONFIG), "--allow-import", "finetune_text", "--runs", str(place)]
    arguments += ["--executor", "inline", "--device", str(DEVICE), *more]
    arguments += [part for value in values for part in ("--set", value)]
    env = {"COLUMNS": "100", "LRSEARCH_RUNS": None}
    done = CliRunner().invoke(app, arguments, env=env, catch_exceptions=False)
    assert "Traceback" not in done.output
    return done


def test_a_pretrained_start_is_searched_and_is_worth_it(place: Path, encoder: Path) -> None:
    from safetensors import torch as safetensors

    folders = f"search.model.init_args.folder=[{encoder}, {place / 'raw'}]"
    given = ("train.budget=12ep", "search.lr={min: 5e-4, max: 2e-3, points: 2}", folders)
    said = grid(place, *given, more=("--json",))
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout)
    found: dict[str, list[float]] = {"encoder": [], "raw": []}
    for trial in report["trials"]:
        assert trial["outcome"] == "completed", trial
        start = Path(trial["params"]["model.init_args.folder"]).name
        found[start].append(trial["objective"])
    means = {start: sum(part) / 4 for start, part in found.items()}
    assert [len(part) for part in found.values()] == [4, 4], "two rates, two schedules"
    # Half of the texts are of either class; when this was written the means were 0.62 and 0.55.
    assert report["best"]["objective"] > 0.6, found
    assert means["encoder"] > means["raw"] + 0.03, found

    # The encoder's folder says the same, but other weights in it are another start.
    assert "would train 0 trials" in grid(place, *given, more=("--dry-run",)).stdout
    weights = place / "raw" / "model.safetensors"
    tensors = safetensors.load_file(weights)
    tensors["bert.embeddings.word_embeddings.weight"] *= 2
    safetensors.save_file(tensors, weights, metadata={"format": "pt"})
    assert "would train 4 trials of 4 points" in grid(place, *given, more=("--dry-run",)).stdout


def test_layer_decay_reaches_the_layers_as_of_a_bert(place: Path) -> None:
    """Adam's first step moves nearly every weight by its rate: what it moved by tells the rate."""
    from safetensors import torch as safetensors

    fixed = ("name=once", "train.budget=1ba", "train.evaluate=1ba", "train.warmup=null")
    free = ("train.clip_norm=null", "train.optimizer.weight_decay=0", "train.schedule=constant")
    said = grid(place, *fixed, *free, "train.lr=1e-3", "train.layer_decay=0.5")
    assert said.exit_code == 0, said.output
    (file,) = (place / "once" / "best").glob("*.safetensors")
    after, before = (
        safetensors.load_file(path) for path in (file, place / "raw" / "model.safetensors")
    )
    layers = ["embeddings", "encoder.layer.0", "encoder.layer.1"]
    for above, layer in enumerate(reversed(layers), start=1):
        moved = [
            (after[name] - before[name]).abs().max().item()
            for name in before
            if name.startswith(f"bert.{layer}.") and ".key.bias" not in name  # It has no gradient.
        ]
        assert len(moved) > 3
        assert moved == pytest.approx([1e-3 * 0.5**above] * len(moved), rel=0.02), layer


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("data.init_args.file=no.csv", f"there is no {CONFIG.parent / 'no.csv'}"),
        ("model.init_args.folder=no/model", f"there is no {CONFIG.parent / 'no' / 'model'}"),
        ("data.init_args.file=../pyproject.toml", "row 1 of"),
        ("model.init_args.folder=../docs", "config.json"),
        ("data.init_args.maxlength=3", "maxlength"),
    ],
)
def test_what_is_not_there_is_said_before_anything_trains(
    place: Path, value: str, told: str
) -> None:
    said = grid(place, "name=wrong", value)
    assert said.exit_code == 2, said.output
    assert told in said.stderr.replace("\n", ""), said.stderr
    assert not (place / "wrong" / "journal.jsonl").exists()


def test_a_tokenizer_of_other_texts_is_told(place: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text(
        "text,label\n" + "".join(f"{chr(0x4E00 + row)} ❄ ⚑,{row % 2}\n" for row in range(40)),
        encoding="utf-8",
    )
    said = grid(place, "name=strange", f"data.init_args.file={tmp_path / 'texts.csv'}")
    assert said.exit_code == 2, said.output
    assert "knows less than half of the words" in said.stderr.replace("\n", "")
