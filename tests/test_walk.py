# amaranth: UnusedElaboratable=no
"""docs/walk.md says what is so: the program is the one shown, and its files are those at work."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golden.common.config import CORES
from golden.common.formats import GAIN
from golden.core.isa import GOLDEN_ONLY, Opcode
from golden.core.machine import Machine
from golden.network.cascade import Cascade
from golden.network.network import Tap
from golden.network.precision import Precision
from golden.network.shape import VitShape
from golden.prediction.scale_predictor import ScalePredictor
from rtl.core.core import Core
from sim.compiler.cascade import compile_cascade
from sim.compiler.compiler import compile_network
from sim.inputs.model_lookup import open_model
from tests.benches.files_at_work import executed, inside, parts_of, priced
from tests.benches.import_graph import import_graph, modules
from tests.cases.networks import network

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "walk.md"
TEXT = PAGE.read_text()
SMALL = VitShape(image=12, patch=4, dim=16, depth=2, heads=2, hidden=32, classes=5)


@pytest.fixture(scope="module")
def shipped():
    return compile_network(open_model("vit_cifar10:w8a8").network, CORES["8x16"])


@pytest.fixture(scope="module")
def tapped():
    """A program with PREDICT, EXIT and TABLE, which the shipped one has not."""
    made = network(Precision(8, 8), shape=SMALL)
    sites = np.arange(SMALL.site(1, "qkv"), SMALL.sites)
    predictor = ScalePredictor(made.scales[sites], [np.full((len(sites), 4), 100)])
    tap = Tap(1, 4, 2, np.zeros(4, int), np.full(4, 4 * GAIN.one), predictor, sites)
    other = network(Precision(8, 8), shape=replace(SMALL, activation="silu"))
    return compile_cascade(Cascade(replace(made, taps=(tap,)), other, 0), CORES["4x4"])


def sections():
    """Heading and text of the part of the page on each kind of instruction."""
    parts = re.findall(r"^### (.*)\n((?:(?!##).*\n?)*)", TEXT, re.MULTILINE)
    return {title: text for title, text in parts if opcodes_in(title)}


def opcodes_in(title):
    return [opcode for opcode in Opcode if opcode.name in title.split(":")[0].split()]


def indexes_in(title):
    return [int(number) for number in re.findall(r"\d+", title.partition(":")[2])]


def said(text, label):
    """What the page says behind a label, one paragraph or item of a list."""
    return re.search(rf"^\* {label}: ((?:(?!\* ).+\n?)*)", text, re.MULTILINE)[1]


def files_in(text, package="golden|rtl|sim|tests"):
    return re.findall(rf"\]\(\.\./((?:{package})/[\w/]+\.(?:py|cpp))\)", text)


def check_steps(title, steps, text):
    told = [files_in(part) for part in said(text, "Golden").split("→")]
    told = [files for files in told if files]
    assert [files[0] for files in told] == [first for first, _ in steps], title
    for (first, *others), (_, called) in zip(told, steps, strict=True):
        assert called <= set(others), f"{title}: {first} calls {called - set(others)}, too"
        for other in set(others) - called:
            assert any(inside(file, other) for file in {first, *called}), f"{title}: {other}"


def told_of(index, opcode, with_tap):
    """Sections on an instruction of the shipped program, or of the one with a tap."""
    for title, text in sections().items():
        numbers = indexes_in(title)
        if index in numbers if not with_tap else not numbers and opcode in opcodes_in(title):
            yield title, text


def test_the_program_is_the_one_shown(shipped):
    block = next(block for block in re.findall(r"^```\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
                 if re.match(r" +\d+ [0-9a-f]{8} ", block))
    shown = [re.sub(r"\s+", " ", line.strip())
             for line in re.sub(r"\n {12,}", " ", block).splitlines()]
    made = [re.sub(r"\s+", " ", line.strip()) for line in shipped.disassemble()]
    lines = [line for line in shown if line != "..."]
    assert not [line for line in lines if line not in made]
    assert lines == sorted(lines, key=made.index)
    numbers = [made.index(line) for line in lines]
    assert set(range(11)) | set(range(29, 33)) <= set(numbers)
    gaps = sum(b - a > 1 for a, b in zip(numbers, numbers[1:], strict=False))
    assert shown.count("...") == gaps
    titles = [(opcodes_in(title), indexes_in(title)) for title in sections()]
    assert sorted(number for _, each in titles for number in each) == numbers
    for opcodes, each in titles:
        assert {made[number].split()[2] for number in each} <= {one.name for one in opcodes}


def test_heads_1_to_3_are_like_head_0(shipped):
    ops = [op for _, op in shipped.instructions()][5:29]
    for head in range(1, 4):
        for first, other in zip(ops[:6], ops[6 * head:6 * head + 6], strict=True):
            changed = {name for name in first.fields | other.fields
                       if getattr(first, name) != getattr(other, name)}
            assert changed <= {"dest", "source", "weights_address"}
        assert ops[6 * head + 5].dest == ops[5].dest + 16 * head


def test_slots_hold_the_scales_of_sites(shipped):
    net = open_model("vit_cifar10:w8a8").network
    machine = Machine(shipped)
    machine.step()
    slot, value = map(int, re.search(r"slot (\d+) holds (-?\d+)", TEXT).groups())
    assert machine.scales[slot] == value
    for first, last, block in re.findall(r"(\d+) to (\d+) are block (\d+)'s", TEXT):
        sites = [1 + net.shape.site(int(block), name)
                 for name in ("qkv", "q", "k", "v", "proj", "fc1", "fc2")]
        assert sites == list(range(int(first), int(last) + 1))


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)", TEXT)
    assert len(links) > 100
    assert not [link for link in links if not (PAGE.parent / link).exists()]


def test_every_name_is_defined_where_its_link_leads():
    links = re.findall(r"\[`([\w.]+?)(?:\(\))?`\]\((\.\./[\w/]+\.py)\)", TEXT)
    assert len(links) > 20
    for name, link in links:
        body = ast.parse((PAGE.parent / link).read_text()).body
        for part in name.split("."):
            found = [node for node in body if part in defined(node)]
            assert found, f"{name} is not in {link}"
            body = getattr(found[0], "body", [])


def defined(node):
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = (node.targets if isinstance(node, ast.Assign) else
               [node.target] if isinstance(node, ast.AnnAssign) else [])
    return {part.id for target in targets for part in ast.walk(target)
            if isinstance(part, ast.Name)}


def test_golden_files_are_those_that_an_instruction_passes(shipped, tapped):
    seen = set()
    for program, image in (shipped, 32), (tapped, 12):
        draw = np.random.default_rng(1)
        image = draw.integers(0, 256, (image, image, 3), dtype=np.uint8)
        for index, (opcode, steps) in enumerate(executed(program, image)):
            for title, text in told_of(index, opcode, program is tapped):
                seen.add(title)
                check_steps(title, steps, text)
    assert seen == set(sections())


def test_files_of_cycles_are_those_that_tell_them(shipped, tapped):
    seen = set()
    for program in shipped, tapped:
        for index, (opcode, files) in enumerate(priced(program)):
            for title, text in told_of(index, opcode, program is tapped):
                seen.add(title)
                assert files == set(files_in(said(text, "Cycles"))), title
    assert seen == set(sections())


@pytest.fixture(scope="module")
def parts():
    return parts_of(Core(CORES["8x16"]))


def test_rtl_files_are_those_of_the_core(parts):
    assert not parts.keys() - set(files_in(TEXT)), "the core has files that the page does not name"
    for title, text in sections().items():
        named = files_in(said(text, "RTL"))
        assert named, title
        assert set(named) <= parts.keys(), title


@pytest.mark.parametrize(("opcode", "file"), [
    ("NORM", "rtl/rows/layernorm.py"), ("SOFTMAX", "rtl/rows/softmax.py"),
    ("PREDICT", "rtl/prediction/prediction.py"), ("GEMM", "rtl/core/product_path.py"),
    ("GEMM", "rtl/core/result_path.py")])
def test_the_parts_that_carry_an_instruction_out_are_told_with_it(parts, opcode, file):
    inner = {part for part in parts[file] if not part.startswith("rtl/common/")}
    own, others = set(), set()
    for title, text in sections().items():
        side = own if Opcode[opcode] in opcodes_in(title) else others
        side.update(files_in(said(text, "RTL")))
    assert inner <= own
    if opcode != "GEMM":  # whose parts lend multipliers, and store what others have made
        assert not {part for part in inner if not part.startswith("rtl/memory/")} & others


def test_every_kind_of_instruction_of_a_core_is_told():
    told = {opcode for title in sections() for opcode in opcodes_in(title)}
    assert told == set(Opcode) - GOLDEN_ONLY
    assert all(opcode.name in TEXT for opcode in GOLDEN_ONLY)


def test_folders_import_whom_the_picture_says():
    files = modules(ROOT)
    home = {name: path.relative_to(ROOT).parent.as_posix() for name, path in files.items()}
    wanted = {folder: set() for folder in home.values() if "/" in folder}
    for name, others in import_graph(ROOT).items():
        for other in others:
            if home[name] in wanted and home[other] in wanted and (
                    home[name].split("/")[0] == home[other].split("/")[0]):
                wanted[home[name]].add(home[other].partition("/")[2])
    wanted = {folder: found - {"common", folder.partition("/")[2]}
              for folder, found in wanted.items()}
    told = re.findall(r"^((?:golden|rtl|sim)/[\w/]+) +(- |[a-z/ ,]+?)  ", TEXT, re.MULTILINE)
    assert {folder: set(re.findall(r"[a-z/]+", text)) for folder, text in told} == wanted


def test_each_change_has_a_home_and_tests():
    table = TEXT.partition("| to change")[2].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table
            if line.startswith("|")]
    assert len(rows) >= 14
    for change, home, derived, tests in rows:
        assert len(set(files_in(home, "golden|rtl|sim"))) == 1, f"{change}: one home"
        assert files_in(tests, "tests"), change
        assert not set(files_in(tests)) - set(files_in(tests, "tests")), change
        assert derived, change


def test_other_pages_lead_here():
    assert "(docs/walk.md)" in (ROOT / "README.md").read_text()
    assert "(walk.md)" in (ROOT / "docs" / "core.md").read_text()
