"""Fine-tuning a pretrained text encoder: its labelled texts and the model, from local files."""

import csv
import json
from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoTokenizer


def load(folder, file, max_length=128):
    """The texts of `file`, tokenized as the model in `folder` was pretrained, and their labels."""
    texts, labels = read(find(file))
    tokenizer = AutoTokenizer.from_pretrained(find(folder), local_files_only=True)
    # Padded to the longest. transformers looks whether attention_mask hides anything: a model that
    # reads values back trains alone, not in lanes, which would gain next to nothing here.
    encoded = tokenizer(
        texts, truncation=True, max_length=max_length, padding=True, return_tensors="np"
    )
    known = encoded["attention_mask"].astype(bool) & (
        encoded["input_ids"] != tokenizer.unk_token_id
    )
    if known.sum() < encoded["attention_mask"].sum() / 2:
        raise ValueError(f"the tokenizer in {folder} knows less than half of the words in {file}")
    return {
        "input_ids": encoded["input_ids"],
        "attention_mask": encoded["attention_mask"],
        "labels": labels,  # Text or whole numbers; lrsearch numbers the classes.
    }


def build(folder, num_classes):
    """The encoder in `folder` with a new head; `num_classes` comes from the data."""
    return AutoModelForSequenceClassification.from_pretrained(
        find(folder), num_labels=num_classes, local_files_only=True
    )


def find(path):
    """A path, relative to this file. Without a check a wrong one would be looked for on the hub."""
    found = Path(__file__).parent / Path(path).expanduser()
    if not found.exists():
        raise FileNotFoundError(f"there is no {found}")
    return found


def read(path):
    """The texts and labels of a .csv or .tsv file with a header, or of a .jsonl file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix in (".jsonl", ".ndjson"):
            rows = [json.loads(line) for line in file if line.strip()]
        else:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    for number, row in enumerate(rows, start=1):
        if row.get("text") is None or row.get("label") is None:
            raise ValueError(f"row {number} of {path} has no 'text' or no 'label': {row}")
    return [row["text"] for row in rows], [row["label"] for row in rows]
