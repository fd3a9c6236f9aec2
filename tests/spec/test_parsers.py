"""The words of a command, held against what argparse makes of them."""

import runpy
import shlex
import sys

import pytest

from lrsearch.data.parquet import read_names
from lrsearch.errors import SpecError
from lrsearch.spec import read_spec
from lrsearch.spec.document import read_document
from lrsearch.spec.scripts import command_faults

OPTIONS = """\
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--batch-size", "--bs", type=int, default=32)
parser.add_argument("--nesterov", action="store_true")
parser.add_argument("-w", "--workers", default=1)
"""
SCRIPT = (
    f"import argparse\nparser = argparse.ArgumentParser()\n{OPTIONS}args = parser.parse_args()\n"
)


def faults_of(folder, script, command):
    (folder / "train.py").write_text(script)
    return command_faults(read_document(spec_text(command), "s.yaml"), folder)


def spec_text(command):
    return f"command: {command}\nobjective: loss\nsearch: {{lr: {{min: 0.1, max: 1}}}}\n"


def is_refused(folder, command, monkeypatch):
    """Whether argparse ends the script of a command."""
    words = shlex.split(command.format(lr=0.1))[1:]
    monkeypatch.setattr(sys, "argv", words)
    try:
        runpy.run_path(str(folder / "train.py"), run_name="__main__")
    except SystemExit:
        return True
    return False


@pytest.mark.parametrize(
    ("words", "told", "hint"),
    [
        ("--lr {lr} --batch_size 8", "no option --batch_size",
         "write command: python train.py --lr {lr} --batch-size 8"),
        ("--lrr {lr} --btach-size=8", "no option --lrr",
         "write command: python train.py --lr {lr} --batch-size=8"),
        ("--learning-rate {lr}", "no option --learning-rate",
         "write command: python train.py --lr {lr}"),
        ("--lr={lr} --momentum 0.9", "no option --momentum",
         "its options: --help, --lr, --batch-size, --bs, --nesterov, -w, --workers"),
        ("--bs 8", "requires --lr, which", ""),
        ("--lr {lr} --nesterov true", "is a switch, action='store_true'", "let the script read"),
        ("--lr {lr} --nesterov={lr}", "is a switch, action='store_true'", "let the script read"),
    ],
)  # fmt: skip
def test_a_word_that_the_script_refuses_is_a_fault(tmp_path, monkeypatch, words, told, hint):
    command = f"python train.py {words}"
    found = faults_of(tmp_path, SCRIPT, command)
    assert told in found[0].message and found[0].hint.startswith(hint)
    assert is_refused(tmp_path, command, monkeypatch)
    if hint.startswith("write"):
        line = hint.removeprefix("write command: ")
        assert not faults_of(tmp_path, SCRIPT, line)
        assert not is_refused(tmp_path, line, monkeypatch)


@pytest.mark.parametrize(
    "words",
    [
        "--lr {lr}",
        "--lr={lr} --batch 8 --nesterov -w 2",
        "--nesterov --lr {lr} --bs=8",
        "--lr -1 --workers '--a b'",
    ],
)
def test_words_that_it_takes_are_none(tmp_path, monkeypatch, words):
    assert not faults_of(tmp_path, SCRIPT, f"python train.py {words}")
    assert not is_refused(tmp_path, f"python train.py {words}", monkeypatch)


def test_all_slips_of_a_command_are_told_at_once(tmp_path, monkeypatch):
    found = faults_of(tmp_path, SCRIPT, "pythn train.py --lrr {lr} --wokers 2")
    line = "write command: python train.py --lr {lr} --workers 2"
    assert [each.hint for each in found] == [line, line, line]
    path = tmp_path / "s.yaml"  # Beside a placeholder whose line mends that alone.
    path.write_text(spec_text("python trian.py --lr {lrr}"))
    with pytest.raises(SpecError) as caught:
        read_spec(path, columns=read_names)
    assert [each.hint.partition(";")[0] for each in caught.value.faults] == [
        "write command: python trian.py --lr {lr}",
        "did you mean train.py?",
    ]
    (tmp_path / "accelerated").touch()  # No slip of what is known, and not installed.
    monkeypatch.setenv("PATH", str(tmp_path))
    (lacking,) = faults_of(tmp_path, SCRIPT, "accelerate launch train.py --lr {lr}")
    assert "no program 'accelerate'" in lacking.message and not lacking.hint


MORE = "import types\ndef more(parser): parser.add_argument('--more')\n" + SCRIPT
ACCEPTING = {
    "known ones": SCRIPT.replace("parse_args", "parse_known_args"),
    "handed on": MORE.replace("args =", "more(parser)\nargs ="),
    "of a loop": SCRIPT.replace(
        "args =", "for n in ['more']: parser.add_argument('--' + n)\nargs ="
    ),
    "another's": SCRIPT.replace("()\nparser.add", "(parents=[base])\nparser.add", 1).replace(
        "parser = ",
        "base = argparse.ArgumentParser(add_help=False)\nbase.add_argument('--more')\nparser = ",
    ),
    "changed before": "import sys\nsys.argv = ['a', '--lr', '1']\n" + SCRIPT,
    "its own words": SCRIPT.replace("parse_args()", "parse_args(['--lr', '1'])"),
    "the rest": SCRIPT.replace(
        "args =", "parser.add_argument('rest', nargs=argparse.REMAINDER)\nargs ="
    ).replace("required=True", "default=1"),
    "never called": SCRIPT.replace("args = ", "def main(): return "),
    "switched off": SCRIPT.replace("args = ", "if not __name__: args = "),
    "a class of its own": SCRIPT.replace(
        "parser = argparse.ArgumentParser()",
        "class Own(argparse.ArgumentParser):\n    def parse_args(self): pass\nparser = Own()",
    ),
}


@pytest.mark.parametrize("script", ACCEPTING.values(), ids=ACCEPTING)
def test_a_script_that_may_take_any_word_refuses_none(tmp_path, monkeypatch, script):
    command = f"python train.py {'a' * ('REMAINDER' in script)} --lr {{lr}} --more 1"
    assert not faults_of(tmp_path, script, command)
    assert not is_refused(tmp_path, command, monkeypatch)


CLICK = """\
import click
@click.command()
@click.option("--lr", type=float, default=0.1)
@click.option("--batch-size", "-b", default=32)
@click.option("--fast/--slow", default=True)
@click.argument("folder", required=False)
def main(lr, batch_size, fast, folder):
    print({"loss": lr})
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    ("script", "words", "told"),
    [
        (CLICK, "--lr {lr} --batch_size 8", "no option --batch_size"),
        (CLICK, "--lr {lr} -b 8 --slow here", ""),
        (CLICK.replace("    main()", "    main(['--lr', '1'])"), "--rate {lr}", ""),
        (CLICK.replace("click.command()", "click.command(context_settings=MINE)"), "--a {lr}", ""),
        (CLICK.replace("@click.argument", "@shared.options\n@click.argument"), "--a {lr}", ""),
        (CLICK.replace("click.command", "app.command"), "--a {lr}", ""),
        (CLICK.replace("if __name", "main = click.option('--a')(main)\nif __name"), "--a {lr}", ""),
        (CLICK.replace("if __name", "main.params += OURS\nif __name"), "--a {lr}", ""),
        (CLICK.replace("import click", "import click\nfrom sys import argv"), "--a {lr}", ""),
    ],
)
@pytest.mark.parametrize("module", [False, True])
def test_options_of_click_and_of_modules(tmp_path, script, words, told, module):
    command = "python -m train" if module else "python train.py"
    found = faults_of(tmp_path, script, f"{command} {words}")
    assert bool(found) == bool(told)
    for fault in found:
        assert told in fault.message
        assert fault.hint == f"write command: {command} --lr {{lr}} --batch-size 8"


def test_no_option_is_alike_by_its_hyphens(tmp_path):
    script = CLICK.replace("--lr", "--learning-rate")
    (fault,) = faults_of(tmp_path, script, "python train.py --lr {lr}")
    assert fault.hint == "write command: python train.py --learning-rate {lr}"
