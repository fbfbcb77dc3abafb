"""Which files of golden carry an instruction out, and of which files of rtl a core is made."""

import sys
from functools import cache
from pathlib import Path

from amaranth.hdl import Fragment

from golden.core.machine import Machine
from golden.cycles.timing import timing

ROOT = Path(__file__).parents[2]
MACHINE = "golden/core/machine.py"
UNITS = {"golden/common/exp2.py", "golden/common/log2.py"}
"""Units in golden/common; all the rest of it, and golden/core, is what every instruction passes."""


def is_unit(file):
    folder = str(Path(file).parent)
    return file in UNITS or (file.startswith("golden/")
                             and folder not in ("golden", "golden/common", "golden/core"))


@cache
def relative(name):
    path = Path(name)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""


def watched(function, note):
    """Call a function, and another with the frame of every call and return within it."""
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: note(frame, event))
    try:
        return function()
    finally:
        sys.setprofile(before)


def forget_results():
    """Have functions that remember their results called again."""
    for name, module in list(sys.modules.items()):
        if name.startswith("golden."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def steps_of(machine):
    """Execute an instruction; return the units that the machine calls, in order, and those that
    each calls itself."""
    steps = []

    def note(frame, event):
        file = relative(frame.f_code.co_filename)
        if event != "call" or not is_unit(file):
            return
        while frame.f_back and relative(frame.f_back.f_code.co_filename) != MACHINE:
            frame = frame.f_back
        first = relative(frame.f_code.co_filename)
        if not frame.f_back or not is_unit(first):
            return  # a rule, which looks at sizes
        if not steps or steps[-1][0] != first:
            steps.append((first, set()))
        steps[-1][1].update({file} - {first})

    watched(machine.step, note)
    return steps


def inside(file, other):
    """Whether functions or tables of another file are used in one, compiled into it maybe."""
    module, wanted = (sys.modules[each.removesuffix(".py").replace("/", ".")]
                      for each in (file, other))
    return any(value is wanted or getattr(value, "__module__", None) == wanted.__name__
               for value in vars(module).values())


def executed(program, image=None):
    """Yield opcode and steps of each instruction."""
    Machine(program, image).run()  # compiles kernels, which takes minutes while watched
    machine = Machine(program, image)
    for _, op in program.instructions():
        forget_results()
        yield op.opcode, steps_of(machine)


def priced(program):
    """Return opcode and files of each instruction whose code gives its cycles."""
    found = []

    def note(frame, event):
        calls = event == "call"
        if frame.f_code.co_name == "_execute":
            note.inside = calls
            if calls:
                found.append((frame.f_locals["op"].opcode, set()))
        file = relative(frame.f_code.co_filename)
        if calls and note.inside and is_unit(file):
            found[-1][1].add(file)

    timing(program)  # compiles kernels, as above
    note.inside = False
    watched(lambda: timing(program), note)
    return found


def parts_of(component):
    """Return for each file of the parts of a component the files of those within, its own, too."""
    found = {}

    def visit(fragment, around):
        own = {file
               for origin in fragment.origins or ()
               if (file := relative(sys.modules[type(origin).__module__].__file__))
               .startswith("rtl/")}
        around = around | own
        for file in around:
            found.setdefault(file, set()).update(own)
        for inner, *_ in fragment.subfragments:
            visit(inner, around)

    visit(Fragment.get(component, None), frozenset())
    return found
