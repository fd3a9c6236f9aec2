"""Text that is no YAML: the line of the slip, and what to write, not where the parser gave up."""

import re

import pytest
import yaml

from lrsearch.errors import SpecError
from lrsearch.spec import malformed
from lrsearch.spec.document import parse, read_document
from lrsearch.spec.mending import find_error
from lrsearch.spec.validate import validate


@pytest.mark.parametrize(
    ("text", "line", "told", "hint"),
    [
        ("a: 1\nseed = 3\nb: 2\n", 2, "'seed = 3' lacks ':'", "write seed: 3"),
        ("a: 1\nseed:3\nb: 2\n", 2, "lacks a blank after the colon", "write seed: 3"),
        ("a: 1\nseed:3\n", 2, "lacks a blank after the colon", "write seed: 3"),
        ("tr:ain\n  lr: 1\n", 1, "lacks a blank after the colon", "write train:"),
        ("train:\n  bud:get 2ep\n  lr: 1\n", 2, "lacks a blank", "write budget: 2ep"),
        ("name:& x\nseed: 3\n", 1, "lacks a blank after the colon", "write name: x"),
        ("a: {name:& sgd, b: 1}\n", 1, "lacks a blank after the colon", "write name: sgd"),
        ("a: {name: & sgd}\n", 1, "scanning an anchor", "write a: {name: sgd}"),
        ("a:\n  * b\n  - c: 1\n", 2, "scanning an alias", "write - b"),
        ("[data]\nname = x\n", 2, "a spec is YAML, and this is TOML", "write [data] as data:"),
        ("a:\n  b: 1\n   c: 2\n", 3,
         "indented by 3, the one before it by 2", "write c: 2, with 2 blanks before it"),
        ("a:\n  b:\n    c: 1\n   d: 2\n", 4,
         "by 3, the one before it by 4", "write d: 2, with 4 blanks"),
        ("a:\n  b: {c: 1\nd: 2\n", 2, "a { that is opened there", "write b: {c: 1}"),
        ("a: [1,\n  2\nb: 3\n", 1, "a [ that is opened there", "write 2] on line 2"),
        ("a: 1\nb: 'x\nc: 2\n", 2, "a quote that is opened there is not closed", ""),
        ("a:\n\u00a0\u00a0b: 2\n  c: 1\n", 2,
         "a no-break space (U+00A0)", "write b: 2, with 2 blanks"),
        ("a:\n  b:\u00a02\n  c: 1\n", 2, "a no-break space (U+00A0)", "write b: 2"),
        ("a: 1\nb\uff1a 2\n", 2, "a fullwidth colon (U+FF1A)", "write b: 2"),
        ("a: 1\nb: %x\n", 2, "cannot start any token", "write b: '%x'"),
        ("a: 1\nb: @x\n", 2, "cannot start any token", "write b: '@x'"),
        ("a: 1\nb: x: y\n", 2, "mapping values are not allowed", "write b: {x: y}"),
        ("a: 1\nb: x y: (z)\n", 2, "mapping values are not allowed", "write b: 'x y: (z)'"),
        ("command: x --a: b\n", 1, "not allowed", "write command: 'x --a: b'"),
        ("command: x\n  --a: b\n", 2, "'command' has a value", "write command: 'x --a: b'"),
        ("command: 'x y' z\n", 1, "not valid YAML", "write command: '''x y'' z'"),
        ("data: x\n  test: 1\n", 2,
         "'data' has a value on its line",
         "write data: on line 1\n  write name: x on line 1, on a line of its own, 2 blanks"),
        ("a: {b: 1\n  c: 2}\n", 2, "a comma is missing before this line", "{b: 1, on line 1"),
        ("a: {b: [1, 2}\n", 1, "ends with ], not with }", "write a: {b: [1, 2]}"),
        ("a: {b: c: (d)}\n", 1, "expected ',' or '}'", "between single quotes"),
        ("a: 1\nb: {lr} / 10\n", 2, "not valid YAML", "write b: '{lr} / 10'"),
        ("a: {b: {lr} / 10, c: {lr}}\n", 1, "not valid YAML", "write a: {b: '{lr} / 10', c: {lr}}"),
        ("a: {\n  b: {lr} / 10,\n  c: 1}\n", 2, "not valid YAML", "write b: '{lr} / 10',"),
        ('a: 1\nb: "\\d"\n', 2, "unknown escape", "write b: '\\d'"),
        ("a: \u201cx\u201d\n", 1, "typographic quotes", ""),
        ("a: - 32 - 64\n", 1, "stands between brackets", "write a: [32, 64]"),
        ("a:\n  - 1\n  -2\n", 3, "'-2' lacks a blank after the dash", "write - 2"),
        ("a:\n  -sgd\n", 2, "'-sgd' lacks a blank after the dash", "write - sgd"),
        ("a:\n  b:[1, 2]\n", 2, "'b:[1, 2]' lacks a blank after the colon", "write b: [1, 2]"),
        ("a: 1\t\n", 1, "a tab ends the line", ""),
        ("a: x; b: y\n", 1,
         "mapping values are not allowed", "write a: x\n  write b: y, on a line of its own"),
        ("a:\n  b:\u00a0[1, 2]\n", 2, "a no-break space (U+00A0)", "write b: [1, 2]"),
        ("a: 1\n\u00a0 b: 2\n", 2, "a no-break space (U+00A0)", "write b: 2, with no"),
        ("a:{b: 1}\n", 1, "lacks a blank after the colon", "write a: {b: 1}"),
        ("tr:ain:\n  lr: 1\n", 1, "a colon within its name", "write train:"),
        ("a: {mom:entum: 0.9}\n", 1, "a colon within its name", "write momentum: 0.9"),
        ("a: 1\nb -> {c: 5}\n", 2, "the key 'b -> {c' has a sign", "write b: {c: 5}"),
        ("*a: b\n", 1, "aliases and tags are not allowed (before 'a')", "write a: b"),
        ('a: 1\nb: "[16, 64]\n', 2, "a quote that is opened there", "write b: [16, 64]"),
        ("a:\n  b: [32, 64]]\n", 2, "not valid YAML", "write b: [32, 64]"),
        ("b: {50ba, 100ba]\n", 1, "ends with }, not with ]", "write b: [50ba, 100ba]"),
        ("a: (b: c, d: [1])\n", 1, "not valid YAML", "write a: {b: c, d: [1]}"),
        ("a: {min: 1e-4. max: 1.0}\n", 1, "not valid YAML", "write a: {min: 1e-4, max: 1.0}"),
        ("a: {ma:x 0.1}\n", 1, "a colon within its name", "write max: 0.1"),
        ("a: {max :0.1}\n", 1, "lacks a blank after the colon", "write max: 0.1"),
        ("a: 1\nlr: 2}\n", 2, "a sign that nothing opens", "write lr: 2"),
        ("a: 1\noptimizer: sgd, adam]\n", 2, "that nothing opens", "write optimizer: [sgd, adam]"),
        ("a: 1\n timeout: 5m}\n", 2, "indented by 1", "write timeout: 5m, with no blanks"),
        ("```yaml\na: 1\n", 1, "Markdown around a spec", "take line 1 away"),
        ("a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> x\n", 2, "a merge is not finished",
         "keep line 3 or line 5, and take the signs on lines 2, 4 and 6 away"),
    ],
)  # fmt: skip
def test_the_slip_is_told_where_it_stands(text, line, told, hint):
    with pytest.raises(SpecError) as error:
        parse(text, "f.yaml")
    (fault,) = error.value.faults
    assert (fault.line, fault.source) == (line, "f.yaml")
    assert told in fault.message and hint in fault.hint


def test_several_lines_without_colons_are_told_each():
    document = read_document("train:\n  budget 2ep\n  lr 0.1\n", "f.yaml")
    assert document.data == {"train": {"budget": "2ep", "lr": 0.1}}
    assert [(each.line, each.hint) for each in document.faults] == [
        (2, "write budget: 2ep"),
        (3, "write lr: 0.1"),
    ]


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("seed: 017\n", "017 begins with 0, which is 15", "write seed: 17, or seed: '017' for"),
        ("a: [08]\n", "08 begins with 0", "write 8, or '08' for a text"),
        ("a: {lr: 0,001, b: 2}\n", "0,001 has a decimal comma", "write lr: 0.001"),
        ("a: {lr: {min: 0,1, max: 1}}\n", "0,1 has a decimal comma", "write min: 0.1"),
        ("a: [0,1, 0,01]\n", "decimal commas", "write a: [0.1, 0.01]"),
        ("search: {a: 32,64}\n", "32,64 has a comma", "write a: [32, 64], or a: 32.64"),
        ("a: [-0,5, 1,25, 3,0]\n", "decimal commas", "write a: [-0.5, 1.25, 3.0]"),
    ],
)
def test_a_number_with_two_readings_is_told_once(text, told, hint):
    (fault,) = read_document(text, "f.yaml").faults
    assert told in fault.message and hint in fault.hint


def test_an_error_is_found_without_all_that_stands_before_it():
    entries = "".join(f"  k{n}: {{min: {n}, max: {n}.5}}  # said\n" for n in range(40))
    for wrong in ("  l: {min: 1, max: 2\n", "  l: x: y\n", "   l: 1\n", "- l\n", "  l: [1}\n"):
        text = f"a: 1\nb:\n{entries}{wrong}{entries}c: 2\n"
        with pytest.raises(yaml.MarkedYAMLError) as error:
            [*yaml.parse(text, Loader=yaml.SafeLoader)]
        found = find_error(text)
        assert (found.problem, found.context) == (error.value.problem, error.value.context)
        assert found.problem_mark.line == error.value.problem_mark.line
    assert find_error(f"b:\n{entries}") is None


@pytest.mark.parametrize(
    "text",
    ["a: [1,2, 3,4, 5]\n", "a: [1,2,3]\n", "a: [16,32, 64,128]\n", "a: [0, 1]\n", "a: 0\n"],
)
def test_a_number_with_one_reading_is_none(text):
    assert parse(text, "f.yaml").faults == []


@pytest.mark.parametrize(
    "text",
    [
        "a: it's = 3\n",
        "init_args: {names: {rock 'n roll: 0}}\n",
        "a: http://x.y/z\n",
        "a: 'caf\u00e9\u00a0x'\n",
        "a: \u201cx\u201d and more\n",
        "a: '\u201cx\u201d'\n",
        "a: {b: [1,\n  2]}\n",
        "a:\n  -1\n",
        "command:\n  -x b\n  -y\n",
    ],
)
def test_what_is_yaml_is_no_slip(text):
    assert parse(text, "f.yaml").faults == []


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="there is one parser alone")
@pytest.mark.parametrize(
    "text",
    [
        "name: x\ntrain: {lr: 1e-3, budget: 5ep}\nsearch:\n  lr: [0.1, 1]\n  - x\n",
        "a: {b: 'x\n  y', c: \"z\"}  # said\nb:\n- 1\n- {c: [2, 3]}\na: 010\n",
        "a:1\nb: {c:2, d: [1,2, 3,4]}\nc: 0,5\n",
        "a: {b:\n\n}\nc: [d: , 1]\n",
        "a: x y\n  z\nb:\n  c: 1\n   d: 2\n",
        "",
        "0.1",
    ],
)
def test_both_parsers_read_the_same(text, monkeypatch):
    def read():
        try:
            return read_document(text, "f.yaml")
        except SpecError as error:
            return error.faults

    assert malformed._PLAIN.fullmatch(text)
    found = read()
    monkeypatch.setattr(malformed, "_PLAIN", re.compile("(?!)"))
    assert read() == found


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: {b: 1e-4; c: 1}\n", {"a": {"b": 1e-4, "c": 1}}),
        ("a: {b: 1 c: 2, 'd': 'x' 'e': 3}\n", {"a": {"b": 1, "c": 2, "d": "x", "e": 3}}),
        ("a: {b = x, c = [1]}\n", {"a": {"b": "x", "c": [1]}}),
        ("a: {b: 1,, c: 2}}\nd: 1\n", {"a": {"b": 1, "c": 2}, "d": 1}),
        ("a: {b: [1, 2}\nc: {d: 'x, e: 1}\n", {"a": {"b": [1, 2]}, "c": {"d": "x", "e": 1}}),
        ("a: {b: 1\uff0cc: 2}\n", {"a": {"b": 1, "c": 2}}),
        ("a:\n  b: 1\n\tc: 2\n  d:\t3\n", {"a": {"b": 1, "c": 2, "d": 3}}),
        ("a 1\nb: 2\nc -> x\nd: 4\ne := [1]\nf: 6\n- g: 5\n",
         {"a": 1, "b": 2, "c": "x", "d": 4, "e": [1], "f": 6, "g": 5}),
        ("a\n  b: 1\nc {\n  d: 2\n", {"a": {"b": 1}, "c": {"d": 2}}),
        ("search: {}\n  a: [1]\n", {"search": {"a": [1]}}),
        ("a: 1 b: 2\nc: 3\n", {"a": 1, "b": 2, "c": 3}),
        ("optimizer: sgd, momentum: 0.9\n", {"optimizer": {"name": "sgd", "momentum": 0.9}}),
        ("warmup: 1ep\n  shape: cosine\n", {"warmup": {"for": "1ep", "shape": "cosine"}}),
        ("a:\n    b: 1\n  c: 2 # said\n", {"a": {"b": 1, "c": 2}}),
        ("a: `x`\nb: c:\nd: 'e\n}\n", {"a": "x", "b": "c", "d": "e"}),
        ("Here:\n\n```yaml\na: 1\n```\n\nRun it.\n", {"a": 1}),
        ("a:\n  <<<<<<< HEAD\n  b: 2\n  =======\n  b: 3\n  >>>>>>> x\n  c: 4\n",
         {"a": {"b": 2, "c": 4}}),
        ("a: {b: @x, c: %1}\n'd: 1\n**e**: 2\n> f: 3\ng is [4]\nh, 5\ni- 6\n",
         {"a": {"b": "x", "c": 1}, "d": 1, "e": 2, "f": 3, "g": [4], "h": 5, "i": 6}),
        ("a: {b: 1}, c: 2\nd: [1, 2] ; said\ne: {f: 3}.\ng: {h: (i: 4, j: 5}}\n",
         {"a": {"b": 1, "c": 2}, "d": [1, 2], "e": {"f": 3}, "g": {"h": {"i": 4, "j": 5}}}),
        ("a: {{b: 1}\nc: d: 2, e: 3}\nf: {g: 4, 5], h: 6}\n",
         {"a": {"b": 1}, "c": {"d": 2, "e": 3}, "f": {"g": [4, 5], "h": 6}}),
        ("a: {b: c: d: e, f: g: true}\nh: {i: !1, j: |2, k: - l}\nm: [n {o: 1}]\np: [q]}\n",
         {"a": {"b": "c", "d": "e", "f": "g"}, "h": {"i": 1, "j": 2, "k": "l"},
          "m": ["n", {"o": 1}], "p": ["q"]}),
        ("command => python t.py {lr}\na: 1\n", {"command": "python t.py {lr}", "a": 1}),
        ("a:\n  b: 1\n  lone\n  c: 2\n", {"a": {"b": 1, "lone": None, "c": 2}}),
        ("random: {a: 1}; bayes: {b: [2]} lr: 3\n",
         {"random": {"a": 1}, "bayes": {"b": [2]}, "lr": 3}),
        ("a:\n  - {b: 1}- {c: 2}\n", {"a": [{"b": 1}, {"c": 2}]}),
        ("model: {a: 1}; train:\n  b: 2\n", {"model": {"a": 1}, "train": {"b": 2}}),
        ("a: {b: ? 1, c: 2}\nd: {e: : 3}\nf: {g: 4 :}\n",
         {"a": {"b": 1, "c": 2}, "d": {"e": 3}, "f": {"g": 4}}),
        ("loop: a.b objective: c\n", {"loop": "a.b", "objective": "c"}),
        ("train:lr: 1\n  seed: 2\nsearch:, a: 3\n  b: 4\n",
         {"train": {"lr": 1, "seed": 2}, "search": {"a": 3, "b": 4}}),
        ("a:\n{b: 1}\nc:\nd e\n", {"a": {"b": 1}, "c": "d e"}),
        ("a: 'mse\"\nb: {c: ''d'', e: \"\"f\"\"}\n",
         {"a": "mse", "b": {"c": "d", "e": "f"}}),
        ("a: {b: #1e-3, c: 2}\nd: {e: ?, f: 3}\n",
         {"a": {"b": 1e-3, "c": 2}, "d": {"e": "?", "f": 3}}),
        ("a: {b: c]\nd: [e: 1, f: 2}\ng: [3, 4)\n",
         {"a": {"b": "c"}, "d": {"e": 1, "f": 2}, "g": [3, 4]}),
        ("&a: {b: 1}\nc: {!d: 2, &e f: 3}\n", {"a": {"b": 1}, "c": {"d": 2, "f": 3}}),
        ("a: {{b}}\nc: {d: {{ e.f }}}\n", {"a": "{{b}}", "c": {"d": "{{ e.f }}"}}),
        ("a: !true\nb: !!int '2'\nc: \u201c3\u201d\n", {"a": True, "b": 2, "c": 3}),
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_read_as_what_it_was_meant_to_be(text, data):
    document = read_document(text, "f.yaml")
    assert document.data == data and all(fault.hint for fault in document.faults)


def test_what_stands_between_round_brackets_is_one_value():
    text = "{a: f(1, 2), b: (3, 4, 5), c: {d: (6, 7)}, e: 8}"
    data = {"a": "f(1, 2)", "b": "(3, 4, 5)", "c": {"d": "(6, 7)"}, "e": 8}
    assert parse(text, "f.yaml").data == data
    text = "a: {b: (c, d: e, f: g(1, 2)}\nh: (i\nj:\nk: l)\n"  # No brackets of one value.
    document = read_document(text, "f.yaml")
    data = {"a": {"b": "(c", "d": "e", "f": "g(1, 2)"}, "h": "(i", "j": None, "k": "l)"}
    assert document.data == data
    (fault,) = document.faults
    assert (fault.key, fault.hint) == ("a.b", "write b: (c), or b: '(c' for a text")


def test_a_slip_hides_no_other_fault(tmp_path):
    text = (
        "name: x\ndata: digits\nmodel: mlp\ntrain:\n  budget 2ep\n  lr: 0.1 batch_size: 0\nseeds: 0"
        "\nsaerch: {lr: {min: &a 0.1, mx: 0}}\nbayes: {trials: 0,5, startup: *b}\n"
    )
    with pytest.raises(SpecError) as error:
        validate(read_document(text, "f.yaml"), tmp_path, text)
    plain = re.compile(r" allowed: .*|; for example")
    told = [(each.line, each.key, plain.sub("", each.hint)) for each in error.value.faults]
    assert told == [
        (5, "", "write budget: 2ep"),
        (6, "", "write lr: 0.1\n  write batch_size: 0, on a line of its own"),
        (6, "train.batch_size", "write batch_size: 32"),
        (7, "seeds", "write seeds: 1"),
        (8, "saerch.lr.min", "write min: 0.1"),
        (8, "saerch", "did you mean 'search'?"),
        (8, "search.lr.mx", "did you mean 'max'?"),
        (8, "search.lr.max", "write lr: {min: 1e-4, max: 1.0, points: 9}"),
        (9, "bayes.trials", "write trials: 40"),
        (9, "bayes.startup", "write startup: 8"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # The one line that is moved is the one that stands apart, not all that follow.
        ("a:\n   b: 1\n  c: 2\n  d: 3\n", "write b: 1 on line 2, with 2 blanks before it"),
        (" a: 1\nb: 2\nc: 3\n", "write a: 1 on line 1, with no blanks before it"),
        # A comment is no part of a line, and one that differs is no mend.
        ("a:\n  b: 1    # said\n    c: 2\n", "write c: 2, with 2 blanks before it"),
        ("a: 1\nparams: {b: 1}\n c: 2\n", "write c: 2, with no blanks before it"),
        ("a:\n  b: []\n    c: 2\n", "write c: 2, with 2 blanks before it"),
    ],
)
def test_one_line_is_moved_and_none_loses_its_value(text, told):
    (fault,) = read_document(text, "f.yaml").faults
    assert fault.hint == told


def test_braces_that_nobody_can_close_are_no_text():
    with pytest.raises(SpecError) as error:
        read_document("a: {b: 1, c: d}e}\nf: 1\n", "f.yaml")
    assert "'{b" not in str(error.value)


def test_a_block_whose_lines_stand_beside_it_is_told_once(tmp_path):
    text = "name: x\ndata:\nname: digits\nvalidation: 0.3\nmodel: mlp\ntrain:\nbudget: 2ep\nlr: 0\n"
    with pytest.raises(SpecError) as error:
        validate(read_document(text, "f.yaml"), tmp_path, text)
    told = [(fault.line, fault.key, fault.hint) for fault in error.value.faults]
    assert told == [
        (2, "data", "indent lines 3 to 4 by two blanks"),
        (6, "train", "indent lines 7 to 8 by two blanks"),
        (8, "train.lr", "write lr: 0.01; for example"),
    ]


def test_a_line_whose_block_is_missing_is_told_once_with_its_place(tmp_path):
    text = "name: x\ndata: digits\nmodel: {name: mlp}\n  budget: 2ep\n  lr: 0.1\n"
    with pytest.raises(SpecError) as error:
        validate(read_document(text, "f.yaml"), tmp_path, text)
    told = [(fault.line, fault.hint) for fault in error.value.faults if fault.line > 3]
    assert told == [(4, "write budget: 2ep under train"), (5, "write lr: 0.1 under train")]


def test_a_text_of_one_s_own_may_end_with_any_sign():
    text = "params: {end: done;}\nsearch:\n  separator: [a;, b;]\n  model.init_args.path: ['c']\n"
    document = read_document(text, "x.yaml")
    assert not document.faults
    assert document.data["search"]["separator"] == ["a;", "b;"]
