"""Commands end in one line or none whatever becomes of their streams."""

import importlib
import io
import os
import signal
import subprocess
import sys
import time

import pytest

from rtl import build, utilisation
from rtl.cli import UserError, command, printable
from sim import cli, doctor

SCRIPT = """
import sys
from rtl.cli import Parser, UserError, command

@command("python -m a.thing")
def main(argv=None):
    Parser(prog="python -m a.thing").parse_args(argv)
    {body}
    return 0

sys.exit(main())
"""


def run(body="print('text')", *arguments, shell='"$@"', **options):
    """Run a command whose body is given, its streams as a shell line makes them."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}", "bash", sys.executable, "-c",
         SCRIPT.format(body=body), *arguments],
        capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.mark.parametrize("arguments", [[], ["--help"]])
@pytest.mark.parametrize(("shell", "reason"), [
    ('"$@" >/dev/full', "No space left on device"),
    ('"$@" >&-', "Bad file descriptor"),
])
def test_output_that_cannot_be_written_is_one_line(shell, reason, arguments):
    result = run("print('text')", *arguments, shell=shell)
    assert result.returncode == 2
    assert result.stderr == f"python -m a.thing: error: cannot write the output: {reason}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"]])
@pytest.mark.parametrize("body", [
    "print('text', flush=True)", "print('text\\n' * 100_000)",
    "from rich.console import Console; Console().print('text')"])
def test_closed_pipe_is_quiet(body, arguments):
    result = run(f"import time; time.sleep(0.2); {body}", *arguments, shell='"$@" | true')
    assert (result.returncode, result.stderr) == (141, "")


def test_output_that_nobody_needs_may_be_closed():
    result = run("pass", shell='"$@" >&-')
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("shell", ['"$@" 2>&-', '"$@" 2>/dev/full'])
def test_message_that_cannot_be_written_is_none(shell):
    result = run("raise UserError('wrong')", shell=shell)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "")


@pytest.mark.parametrize(("encoding", "printed"), [
    ("utf-8", b"a \\udce9 \xe7\x8c\xab\n"), ("latin-1", b"a \\udce9 \\u732b\n"),
    ("ascii", b"a \\udce9 \\u732b\n")])
def test_what_the_encoding_lacks_is_escaped(encoding, printed):
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=r"print('a \udce9 \u732b')")],
        env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, printed, b"")


def test_streams_are_as_they_were(capsys):
    before = sys.stdout, sys.stderr, sys.stdout.errors
    assert command("x")(lambda argv=None: print("text") or 0)([]) == 0
    assert (sys.stdout, sys.stderr, sys.stdout.errors) == before
    assert capsys.readouterr().out == "text\n"


def test_failing_file_is_not_taken_for_the_output(monkeypatch):
    def main(argv=None):
        raise PermissionError("a file")

    with pytest.raises(PermissionError):
        command("x")(main)([])


def test_stream_without_a_descriptor(monkeypatch, capsys):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert command("x")(lambda argv=None: print("text"))([]) == 2
    assert capsys.readouterr().err == (
        "x: error: cannot write the output: No space left on device\n")


def test_printable_keeps_what_can_be_read():
    assert printable("naïve 猫 a b") == "naïve 猫 a b"
    assert printable("a\x1b[31m\n\udce9\x7f\x85") == r"a\x1b[31m\n\udce9\x7f\x85"


@pytest.mark.parametrize("columns", ["0", "00", ""])
def test_no_columns_are_not_taken_for_a_width(columns, monkeypatch):
    from rich.console import Console

    monkeypatch.setenv("COLUMNS", columns)
    widths = []
    command("x")(lambda argv=None: widths.append(Console().width) or 0)([])
    assert widths[0] >= 40


def test_there_is_one_kind_of_user_error():
    assert cli.UserError is UserError is doctor.UserError
    assert cli.command is command


@pytest.mark.parametrize("module", ["rtl.build", "rtl.export", "rtl.utilisation", "sim.doctor",
                                    "sim.estimate"])
def test_help_to_a_full_disk(module, monkeypatch, capsys):
    main = importlib.import_module(module).main
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--help"]) == 2
        monkeypatch.undo()
    assert capsys.readouterr().err == (
        f"python -m {module}: error: cannot write the output: No space left on device\n")


def _interrupted(*arguments, **options):
    raise KeyboardInterrupt


def test_interrupted_build_is_quiet(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "build", _interrupted)
    assert build.main(["--board", "icebreaker", "--out", str(tmp_path)]) == 130
    monkeypatch.setattr(utilisation, "synthesise", _interrupted)
    assert utilisation.main(["--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == ""


def _interruptible():
    """Take interrupts, which whoever is started in the background of a shell ignores."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_interrupt_from_a_terminal_ends_a_tool_too():
    body = ("import subprocess; print('go', flush=True); "
            "subprocess.run(['sleep', '60'])")
    with subprocess.Popen([sys.executable, "-c", SCRIPT.format(body=body)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=_interruptible) as process:
        assert process.stdout.readline() == "go\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, ("", ""))
