"""Settings of the process that a trial changes: no other trial's, and its own code's in each."""

import os
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from test_anew import SHORT, code
from test_fused import both
from test_own_code import own_config, write_nets
from test_train import run
from torch.distributions import Distribution

from lrsearch.train.users import importing
from lrsearch.train.users.kept import of_setting
from lrsearch.train.users.settings import SETTINGS
from lrsearch.trial import Outcome

SETS = {
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "grad mode": "torch.set_grad_enabled(False)",
    "anomaly": "torch.autograd.set_detect_anomaly(True, check_nan=False)",
    "deterministic": "torch.use_deterministic_algorithms(True, warn_only=True)",
    "threads": "torch.set_num_threads(2)",
    "products": "torch.set_float32_matmul_precision('medium')",
    "products of old": "torch.backends.cuda.matmul.allow_tf32 = True",
    "products anew": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "mkldnn": "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "all of torch": "torch.backends.fp32_precision = 'tf32'",
    "cuDNN of old": "torch.backends.cudnn.allow_tf32 = True",
    "cuDNN anew": "torch.backends.cudnn.conv.fp32_precision = 'tf32'",
    "benchmark": "torch.backends.cudnn.benchmark = True",
    "cuDNN's order": "torch.backends.cudnn.deterministic = False",
    "cuDNN": "torch.backends.cudnn.enabled = False",
    "attention": "torch.backends.cuda.enable_flash_sdp(False)",
    "distributions": "torch.distributions.Distribution.set_default_validate_args(False)",
    "NumPy": "np.seterr(all='raise')",
    "folder": "os.chdir(os.sep)",
    "variable": "os.environ['LRSEARCH_TEST_SETS'] = '1'",
    "variable's value": "os.environ['HOME'] = '/nowhere'",
    "no variable": "os.environ.pop('HOME', None)",
    "warnings": "warnings.simplefilter('error')",
}
"""Lines of a user's, by the setting that they change."""


def look():
    """All of it as the user's code would find it, and what torch tells by its older ways, which
    raise where they disagree."""
    backends = torch.backends
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "grad mode": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "threads": torch.get_num_threads(),
        "products": torch.get_float32_matmul_precision(),
        "products of old": backends.cuda.matmul.allow_tf32,
        "products anew": backends.cuda.matmul.fp32_precision,
        "mkldnn": backends.mkldnn.matmul.fp32_precision,
        "all of torch": backends.fp32_precision,
        "cuDNN of old": backends.cudnn.allow_tf32,
        "cuDNN anew": backends.cudnn.conv.fp32_precision,
        "benchmark": backends.cudnn.benchmark,
        "cuDNN's order": backends.cudnn.deterministic,
        "cuDNN": backends.cudnn.enabled,
        "attention": backends.cuda.flash_sdp_enabled(),
        "distributions": Distribution._validate_args,
        "NumPy": np.geterr(),
        "folder": Path.cwd(),
        # But for what the compiler of torch sets, which deterministic mode imports.
        "variables": {n: v for n, v in os.environ.items() if not n.startswith("TORCHINDUCTOR")},
        "warnings": [each for each in warnings.filters if each[0] == "error"],
    }


@pytest.fixture
def unset():
    """All settings as they were, whatever a test leaves."""
    kept = [of_setting(each.name, each) for each in SETTINGS]
    before = look()
    yield before
    for each in kept:
        each.restore()


@pytest.mark.parametrize("kind", SETS)
def test_a_setting_is_put_back_to_what_it_was(kind, unset, monkeypatch):
    monkeypatch.setenv("HOME", os.sep)
    torch.backends.cudnn.deterministic = True  # As in a job.
    kept, before = [of_setting(each.name, each) for each in SETTINGS], look()
    assert not any(each.changed() for each in kept)
    exec(SETS[kind], {"torch": torch, "np": np, "os": os, "warnings": warnings})
    changed = [each for each in kept if each.changed()]
    assert changed
    for each in changed:
        each.restore()
    assert look() == before
    assert not any(each.changed() for each in kept)


def test_settings_in_disagreement_are_put_back_to_it(unset):
    """Torch refuses to tell the older setting where the newer one contradicts it."""
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with pytest.raises(RuntimeError, match="mix of the legacy and new"):
        torch.get_float32_matmul_precision()
    kept = [of_setting(each.name, each) for each in SETTINGS]
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    [changed] = [each for each in kept if each.changed()]
    changed.restore()
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_variables_that_libraries_set_as_they_are_imported_stay(unset, monkeypatch):
    """They are imported once: a later trial may need what torch's compiler has set."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    kept = [of_setting(each.name, each) for each in SETTINGS]
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    assert not any(each.changed() for each in kept)


def test_filters_that_make_no_errors_stay(unset):
    """A library adds its own as it is imported, which it is once."""
    kept = [of_setting(each.name, each) for each in SETTINGS]
    warnings.simplefilter("ignore", ResourceWarning)
    assert not any(each.changed() for each in kept)


NETS = """
    import os
    import warnings

    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    {at_import}


    def digits():
        found = load_digits()
        return (found.images[:200, None] / 16).astype("float32"), found.target[:200]


    class Sets(nn.Linear):
        def __init__(self):
            super().__init__(64, 10)
            import test_settings

            test_settings.FOUND.append(test_settings.look())
            {in_a_trial}

        def forward(self, x):
            return super().forward(x.flatten(1))
"""

FOUND: list[object] = []
"""The settings as each model of a test found them."""


def found(tmp_path, *, at_import="", in_a_trial="pass", train=run):
    """The settings that models find, of two trials in each of two jobs of a process."""
    FOUND.clear()
    place = write_nets(tmp_path, textwrap.dedent(NETS).format(
        at_import=at_import, in_a_trial=in_a_trial
    ))  # fmt: skip
    importing.forget_imports()
    own = own_config(code("digits"), code("Sets"), **SHORT)
    ends = [
        each for seeds in ([0, 1], [2, 3]) for each in train(own, own, seeds=seeds, place=place)
    ]
    return ends, list(FOUND)


IN_A_MODEL = (
    *("dtype", "deterministic", "threads", "products anew", "cuDNN of old", "cuDNN's order"),
    *("distributions", "NumPy", "folder", "variable", "no variable"),
)
"""Those with which a training goes on."""


@pytest.mark.parametrize("kind", IN_A_MODEL)
def test_no_trial_finds_what_another_set(kind, tmp_path, unset):
    ends, seen = found(tmp_path, in_a_trial=SETS[kind])
    assert {each.result.outcome for each in ends} == {Outcome.COMPLETED}, ends[0].result
    assert len(seen) >= 4 and all(each == seen[0] for each in seen)


@pytest.mark.parametrize("kind", ["device", "grad mode", "warnings"])
def test_a_trial_that_a_setting_fails_fails_no_other(kind, tmp_path, unset):
    line = f"{SETS[kind]} if len(test_settings.FOUND) == 1 else None"
    ends, seen = found(tmp_path, in_a_trial=line)
    assert [each.result.outcome for each in ends][1:] == [Outcome.COMPLETED] * 3
    assert all(each == seen[0] for each in seen)


@pytest.mark.parametrize("kind", ["threads", "products", "benchmark", "cuDNN of old", "NumPy"])
def test_what_the_code_sets_at_its_import_every_trial_finds(kind, tmp_path, unset):
    _, usual = found(tmp_path)
    _, seen = found(tmp_path, at_import=SETS[kind])
    assert all(each == seen[0] for each in seen) and seen[0] != usual[0]


def test_lanes_find_what_a_training_alone_finds(tmp_path, unset):
    def train(*configs, **given):
        return [end for pair in both(*configs, **given)[0] for end in pair]

    ends, seen = found(tmp_path, in_a_trial=SETS["threads"], train=train)
    assert {each.result.engine for each in ends} == {"solo", "fused"}
    assert all(each == seen[0] for each in seen)
