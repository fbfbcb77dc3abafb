import argparse

import pytest

from sim.cli import (
    UserError,
    any_precision,
    command,
    one_line,
    one_of,
    positive,
    positive_float,
    precision,
    split_precisions,
    whole_file,
    widths,
)


def test_user_error_is_one_line_and_status_2(capsys):
    @command("python -m sim.thing")
    def main(argv=None):
        raise UserError("the file\n  is broken")

    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.err == "python -m sim.thing: error: the file is broken\n"
    assert not captured.out


@pytest.mark.parametrize(("message", "shown"), [
    ("\x1b[2J\x07bell", r"\x1b[2J\x07bell"), ("a\r\n\tb", "a b"), ("\x9b31m\x7f", r"\x9b31m\x7f"),
    ("\u202egnp", r"\u202egnp"), ("\ud800", r"\ud800"), ("\U000e0001", r"\U000e0001"),
    ("Größe ½ 数", "Größe ½ 数"), ("", "UserError"),
], ids=ascii)
def test_messages_cannot_steer_a_terminal(message, shown):
    assert one_line(UserError(message)) == shown


def test_precisions_with_commas_of_their_own_are_told_apart():
    texts = ["w8a8", "w4a4,0=w8a8,10-11=w8a8,3.fc1=w4a8", "w4a8"]
    assert split_precisions(",".join(texts)) == texts
    assert [str(any_precision(text)) for text in texts] == texts
    assert widths("w8a8")("W8A8,FC2=w4a8") == "w8a8,fc2=w4a8"
    for wrong in (widths("w8a8"), precision, any_precision):
        with pytest.raises(argparse.ArgumentTypeError):
            wrong("w4a4,")
    with pytest.raises(argparse.ArgumentTypeError, match="written like w4a4"):
        precision("w4a4,0=w8a8")


def test_long_messages_lose_their_middle():
    text = one_line("a" * 5000 + "b" * 5000)
    assert len(text) == 1000
    assert text[:500] == "a" * 500
    assert text[500:] == " ... " + "b" * 495
    assert one_line("a" * 1000) == "a" * 1000


def test_status_of_main_is_kept():
    assert command("x")(lambda argv=None: 1)([]) == 1


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        command("x")(lambda argv=None: 1 // 0)([])


def test_interrupt_is_quiet(capsys):
    def main(argv=None):
        raise KeyboardInterrupt

    assert command("x")(main)([]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "²"])
def test_positive_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a positive integer, not"):
        positive(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", ""])
def test_positive_float_refuses(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be a positive number, not"):
        positive_float(text)


def test_argument_types_accept():
    assert positive("12") == 12
    assert positive_float("1e3") == 1000.0
    assert one_of("os", "ws")("OS") == "os"


def test_one_of_lists_the_choices():
    with pytest.raises(argparse.ArgumentTypeError, match="must be one of os, ws, not 'xs'"):
        one_of("os", "ws")("xs")


def test_whole_file_replaces_at_the_end(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with whole_file(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_whole_file_leaves_nothing_after_an_error(tmp_path):
    def write():
        with whole_file(tmp_path / "a.bin") as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert not list(tmp_path.iterdir())


def test_whole_file_refuses_a_missing_directory(tmp_path):
    with (pytest.raises(UserError, match=r"cannot write .*: No such file or directory"),
          whole_file(tmp_path / "none" / "a.bin")):
        pass
