"""Why a process failed, read from what it printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.train.users.last_words import TRACE_LINES, find_place, find_reason, tail

TRACE = """\
Traceback (most recent call last):
  File "train.py", line 3, in <module>
    main()
  File "train.py", line 2, in main
    raise ValueError("boom")
ValueError: boom
"""
BOOM = "ValueError: boom"


def prefixed(prefix: str, text: str, between: str = "") -> str:
    return "".join(f"{prefix}{line}\n{between}" for line in text.splitlines())


def launched(error: str) -> str:
    """What torchrun prints behind a script's own output."""
    return f"""\
E1127 12:00:00.1 7 torch/distributed/elastic/multiprocessing/api.py:869] failed (exitcode: 1) \
local_rank: 0 (pid: 8) of binary: /usr/bin/python
Traceback (most recent call last):
  File "/usr/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.{error}:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-27_12:00:00
  exitcode  : 1 (pid: 8)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""


BEHIND = {
    "Hydra's advice": "\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack "
    "trace.\n",
    "a leak": "/usr/lib/python3.12/multiprocessing/resource_tracker.py:254: UserWarning: "
    "resource_tracker: There appear to be 1 leaked semaphore objects to clean up at shutdown\n"
    "  warnings.warn('resource_tracker: There appear to be %d '\n",
    "srun": "srun: error: node7: task 0: Exited with exit code 1\n"
    "slurmstepd: error: *** STEP 12.0 ON node7 CANCELLED ***\n",
    "wandb": "wandb: \nwandb: View run brisk-sky-3 at: https://wandb.ai/x\n"
    "wandb: Find logs at: ./wandb/run-1\n",
    "a bar": "\r 50%|#####     | 5/10 [00:01<00:01,  4.9it/s]\r100%|##########| 10/10\n",
    "torchrun": launched("ChildFailedError"),
    "accelerate": 'Traceback (most recent call last):\n  File "/usr/bin/accelerate", line 8\n'
    "subprocess.CalledProcessError: Command '['python', 'train.py']' returned non-zero exit "
    "status 1.\n",
    "a destructor": "Exception ignored in: <function Env.__del__ at 0x7f1>\n"
    'Traceback (most recent call last):\n  File "env.py", line 9, in __del__\n'
    "TypeError: 'NoneType' object is not callable\n",
    "another rank": prefixed("[rank1]: ", TRACE.replace(BOOM, "KeyboardInterrupt")),
    "make": "make: *** [Makefile:2: train] Error 1\n",
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_what_follows_a_traceback_is_not_the_reason(behind: str) -> None:
    assert find_reason(TRACE + behind, '{"step": 1, "loss": 0.3}\n') == BOOM
    # Some scripts have all in one stream.
    assert find_reason("", "step 1\n" + TRACE + behind) == BOOM


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (TRACE, "train.py, line 2"),
        (TRACE + BEHIND["accelerate"] + BEHIND["torchrun"], "train.py, line 2"),
        (TRACE.replace('"train.py", line 2', '"/v/lib/python3.12/json/decoder.py", line 9'),
         "train.py, line 3"),
        (TRACE.replace("train.py", "/v/site-packages/kit/run.py"), ""),
        ("Error: No such option: --lr", ""),
    ],
)  # fmt: skip
def test_the_line_of_the_users_code_is_that_of_the_reason_s_traceback(
    text: str, place: str
) -> None:
    assert find_place(text, "") == find_place("", text) == place


BEFORE = {
    "a bar": "  0%|          | 0/10 [00:00<?, ?it/s]" + TRACE,
    "a rank": prefixed("[rank0]: ", TRACE, "[rank1]: 12 images\n"),
    "srun -l": prefixed("0: ", TRACE),
    "colours": TRACE.replace("ValueError", "\x1b[1;35mValueError\x1b[0m"),
    "rich": "╭───── Traceback (most recent call last) ─────╮\n│ train.py:2 in main"
    f"      │\n│ ❱ 2 raise           │\n╰────╯\n{BOOM}\n",
    "another first": TRACE.replace("boom", "first")
    + "\nDuring handling of the above exception, another exception occurred:\n\n"
    + TRACE,
    "a data loader": TRACE.replace(BOOM, "ValueError: Caught ValueError in DataLoader worker 0.")
    + "Original "
    + TRACE,
    "a group": "  + Exception Group Traceback (most recent call last):\n  |   File train.py\n"
    "  | ExceptionGroup: many (1 sub-exception)\n  +-+------ 1 ------\n"
    + prefixed("    | ", TRACE),
}


@pytest.mark.parametrize("text", BEFORE.values(), ids=BEFORE)
def test_a_traceback_is_found_whatever_it_is_wrapped_in(text: str) -> None:
    assert find_reason(text, "") == BOOM
    assert find_place(text, "") in ("train.py, line 2", ""), text


COMPLAINTS = {
    "argparse": (
        "usage: t.py [-h] [--lr LR]\nt.py: error: unrecognized arguments: --foo\n"
        + BEHIND["accelerate"],
        "t.py: error: unrecognized arguments: --foo",
    ),
    "click": (
        "Usage: t.py [OPTIONS]\nTry 't.py --help' for help.\n\nError: No such option: --lr\n",
        "Error: No such option: --lr",
    ),
    "syntax": (
        "  File \"t.py\", line 3\n    x = (\n        ^\nSyntaxError: '(' was never closed\n",
        "SyntaxError: '(' was never closed",
    ),
    "C++": (
        "terminate called after throwing an instance of 'c10::Error'\n  what():  no kernel image\n",
        "what(): no kernel image",
    ),
    "Go": (
        "panic: no data\n\ngoroutine 1 [running]:\nmain.main()\nexit status 2\n",
        "panic: no data",
    ),
    "Rust": (
        "thread 'main' panicked at src/main.rs:2:5:\nindex out of bounds\nnote: run with "
        "`RUST_BACKTRACE=1` environment variable to display a backtrace\n",
        "thread 'main' panicked at src/main.rs:2:5: index out of bounds",
    ),
    "R": (
        "Error in f(3) : no such thing\nCalls: f\nExecution halted\n",
        "Error in f(3) : no such thing",
    ),
    "Julia": (
        "ERROR: LoadError: boom\nStacktrace:\n [1] error(s::String)\n   @ Base ./error.jl:35\n",
        "ERROR: LoadError: boom",
    ),
    "Node": (
        "throw new Error('x')\n^\n\nError: x\n    at main (/x.js:1:7)\n\nNode.js v18\n",
        "Error: x",
    ),
    "a shell": (
        "run.sh: line 3: pyhton: command not found\n",
        "run.sh: line 3: pyhton: command not found",
    ),
    "a fault": (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x7f (most recent call first):\n",
        "Fatal Python error: Segmentation fault",
    ),
    "several lines": (
        TRACE.replace(BOOM, "RuntimeError: Error(s) in loading state_dict for Net:")
        + "\tsize mismatch for fc.weight\n",
        "RuntimeError: Error(s) in loading state_dict for Net: size mismatch for fc.weight",
    ),
    "a warning behind": (
        "cannot read config\n/x/y.py:3: FutureWarning: old\n  warnings.warn('old')\n",
        "cannot read config",
    ),
    "logging": (
        '--- Logging error ---\nTraceback (most recent call last):\n  File "x.py"\n'
        "TypeError: not all arguments converted\nno config is given\n",
        "no config is given",
    ),
    "only the launcher": (launched("ChildFailedError"), "ChildFailedError"),
}


@pytest.mark.parametrize(("text", "reason"), COMPLAINTS.values(), ids=COMPLAINTS)
def test_programs_of_other_kinds_say_it_in_their_ways(text: str, reason: str) -> None:
    found = find_reason(text, "epoch 3, test error: 0.12\n")
    assert reason in found if reason == "ChildFailedError" else found == reason


def test_stdout_speaks_where_stderr_does_not() -> None:
    said = 'no data folder: data/x\n{"step": 1, "loss": 0.3}\n'
    assert find_reason("", said) == "no data folder: data/x"
    assert find_reason("UserWarning: old\n", said) == "no data folder: data/x"
    assert find_reason("gave up\n", "test error: 0.12\n") == "gave up"
    assert find_reason("", "") == find_reason(" \n", "\n") == ""
    assert find_reason("gave up\n", "", sure=True) == ""


@given(st.text(), st.text())
def test_any_text_has_a_short_line_of_its_own_as_reason(errors: str, output: str) -> None:
    found = find_reason(errors, output)
    assert len(found) <= 300 and "\n" not in found
    shown, other = tail(errors, output)
    assert len(shown.split("\n")) <= 2 * TRACE_LINES + 1
    assert len(other.split("\n")) <= TRACE_LINES


def test_a_traceback_far_above_the_end_is_kept() -> None:
    shown, other = tail("loading\n" * 50 + TRACE + "# noise\n" * 100, "one\ntwo\n")
    assert TRACE in shown and shown.endswith("# noise") and "..." in shown.splitlines()
    assert other == "one\ntwo"
    assert tail("", "one\ntwo\n") == ("one\ntwo", "")


def test_a_real_traceback_of_a_real_interpreter(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(
        "import atexit, sys\natexit.register(lambda: print('Set this for more', file=sys.stderr))\n"
        "def f(n):\n    return f(n - 1) if n else {}['width']\ntry:\n    f(3)\n"
        "except KeyError as error:\n    raise RuntimeError('no width') from error\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "t.py"], capture_output=True, text=True)
    assert done.stderr.rstrip().endswith("Set this for more")
    assert find_reason(done.stderr, done.stdout) == "RuntimeError: no width"
