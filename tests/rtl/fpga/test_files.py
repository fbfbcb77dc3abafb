"""What is written to stays what it is: a link, a pipe, a device, a file of somebody else."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from rtl.cli import UserError
from rtl.fpga.files import whole_file, write_whole


def test_link_stays_and_its_target_is_written(tmp_path):
    target, link = tmp_path / "a" / "target", tmp_path / "link"
    target.parent.mkdir()
    target.write_bytes(b"old")
    link.symlink_to("second")
    (tmp_path / "second").symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


def test_target_of_a_link_is_made(tmp_path):
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").readlink().name == "target"
    assert (tmp_path / "target").read_bytes() == b"new"


def test_circle_of_links_is_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UserError, match=r"cannot write .*a: Too many levels of symbolic links"):
        write_whole(tmp_path / "a", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_pipe_stays_and_its_reader_gets_everything(tmp_path):
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_whole(pipe, bytes(200_000))
    reader.join(20)
    assert received == [bytes(200_000)]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_pipe_gets_nothing_of_what_fails(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write():
        with whole_file(pipe) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert list(tmp_path.iterdir()) == [pipe]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_device_stays(tmp_path):
    link = tmp_path / "link"  # were it replaced, then not the device of this machine
    link.symlink_to(os.devnull)
    write_whole(link, b"new")
    assert link.is_symlink()
    link.unlink()
    link.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot write .*link: No space left on device"):
        write_whole(link, b"new")
    assert link.is_symlink()


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"])
def test_descriptor_of_a_pipe(folder):
    reading, writing = os.pipe()
    write_whole(f"{folder}/{writing}", b"new")
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == b"new"


def test_descriptor_of_a_file_is_written_where_it_stands(tmp_path):
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        file.write(b"before ")
        write_whole(f"/dev/fd/{file.fileno()}", b"new")
        file.write(b" after")
    assert path.read_bytes() == b"before new after"


def test_descriptor_that_is_not_open_is_refused():
    handle = os.open(os.devnull, os.O_WRONLY)
    os.close(handle)
    with pytest.raises(UserError, match=rf"cannot write /dev/fd/{handle}: Bad file descriptor"):
        write_whole(f"/dev/fd/{handle}", b"new")


def test_standard_output_keeps_its_order(tmp_path):
    code = ("from rtl.fpga.files import write_whole\n"
            "print('before'); write_whole('/dev/stdout', b'new\\n'); print('after')")
    with (tmp_path / "log").open("w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "log").read_text() == "before\nnew\nafter\n"


@pytest.fixture
def ordinary(tmp_path, monkeypatch):
    """A folder of an ordinary user, which this process is: permissions mean nothing to root."""
    if os.geteuid():
        yield tmp_path
        return
    folder = f"/tmp/vernier-{os.getpid()}-ordinary"
    os.mkdir(folder)
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
    try:
        yield type(tmp_path)(folder)
    finally:
        os.seteuid(0)
        subprocess.run(["rm", "-r", folder], check=True)


def test_file_that_must_not_be_written_is_not_replaced(ordinary):
    path = ordinary / "file"
    path.write_bytes(b"old")
    path.chmod(0o444)
    ran = []
    with (pytest.raises(UserError, match=r"cannot write .*file: Permission denied"),
          whole_file(path)):
        ran.append("hours of work")
    assert not ran
    assert path.read_bytes() == b"old"
    assert list(ordinary.iterdir()) == [path]


def test_file_in_a_folder_that_takes_no_new_ones_is_written(ordinary):
    path = ordinary / "file"
    path.write_bytes(b"older and longer")
    ordinary.chmod(0o555)
    try:
        write_whole(path, b"new")
        with pytest.raises(UserError, match=r"cannot write .*other: Permission denied"):
            write_whole(ordinary / "other", b"new")
    finally:
        ordinary.chmod(0o755)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_mode_is_kept(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_whole(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


def test_new_file_has_the_mode_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_folder_is_refused(tmp_path):
    ran = []
    with pytest.raises(UserError, match=r"cannot write .*: Is a directory"), whole_file(tmp_path):
        ran.append("hours of work")
    assert not ran


def test_long_name(tmp_path):
    path = tmp_path / ("ä" * 127)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
