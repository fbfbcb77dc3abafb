"""Where caches are: the custom's places, and what there is without them."""

import os
import pwd
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from golden.common import cache

NOWHERE = "/proc/nowhere"  # not even the superuser can make it


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    """Take the names of places out of the environment; temporary files are in ``tmp``."""
    for name in "VERNIER_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR":
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path / "tmp"))
    cache.private_folder.cache_clear()
    yield tmp_path
    cache.private_folder.cache_clear()


def test_places_in_their_order(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder() == tmp_path / "home" / ".cache" / "vernier"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.cache_folder() == tmp_path / "home" / ".cache" / "vernier"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "vernier"
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path / "mine"))
    assert cache.cache_folder() == tmp_path / "mine"
    assert cache.kernel_folder("k") == tmp_path / "mine" / "k"


def test_a_home_that_cannot_be_written_to(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", NOWHERE)
    private = tmp_path / "tmp" / f"vernier-{os.getuid()}"
    assert cache.cache_folder() == private
    assert cache.kernel_folder("k") == private / "k"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_no_home_and_no_account(monkeypatch, tmp_path):
    def nobody(user):
        raise KeyError(user)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(RuntimeError):
        Path.home()
    assert cache.cache_folder().parent == tmp_path / "tmp"


def test_a_cache_that_was_asked_for_stays_for_cores_and_not_for_kernels(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", NOWHERE)
    assert cache.cache_folder() == Path(NOWHERE)
    assert cache.kernel_folder("k") == tmp_path / "tmp" / f"vernier-{os.getuid()}" / "k"


@pytest.mark.parametrize("plant", [
    lambda path: path.mkdir(mode=0o777) or path.chmod(0o777),
    lambda path: path.symlink_to(path.parent, target_is_directory=True),
    lambda path: path.write_text(""),
], ids=["open", "link", "file"])
def test_a_folder_that_others_may_have_made_is_not_trusted(monkeypatch, tmp_path, plant):
    monkeypatch.setenv("HOME", NOWHERE)
    planted = tmp_path / "tmp" / f"vernier-{os.getuid()}"
    plant(planted)
    found = cache.cache_folder()
    assert found != planted
    assert found.parent == tmp_path / "tmp"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert cache.cache_folder() == found


def test_a_full_disk_is_not_usable(monkeypatch, tmp_path):
    assert cache.usable(tmp_path / "deep" / "deeper")
    full = partial(open, "/dev/full", "wb", buffering=0)
    monkeypatch.setattr(cache.tempfile, "TemporaryFile", lambda **options: full())
    assert not cache.usable(tmp_path)


def _compiles(tmp_path, before="", **environment):
    """Compile a kernel in a process of its own; return what golden says of its cache."""
    clean = {name: value for name, value in os.environ.items()
             if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "VERNIER_CACHE")}
    code = (f"{before}\nimport golden, numba\nfrom golden.common import jit\n"
            "assert jit.round_shift(5, 1) == 3\nprint(golden.CACHED, numba.config.CACHE_DIR)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=False, cwd=Path(__file__).parents[3],
                          env=clean | {"TMPDIR": str(tmp_path / "tmp")} | environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_kernels_without_a_home(tmp_path):
    cached, place = _compiles(tmp_path, HOME=NOWHERE)
    assert cached == "True"
    assert Path(place).is_relative_to(tmp_path / "tmp")
    assert list(Path(place).rglob("*.nbc"))


def test_kernels_with_a_cache_of_numba_that_cannot_be_written_to(tmp_path):
    cached, place = _compiles(tmp_path, NUMBA_CACHE_DIR=NOWHERE, HOME=NOWHERE)
    assert cached == "True"
    assert Path(place).is_relative_to(tmp_path / "tmp")


def test_kernels_with_a_disk_that_fills(tmp_path):
    # from the import on; numba's files are larger, and what the import itself tries is not
    full = ("import resource\nimport golden\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY))")
    cached, place = _compiles(tmp_path, full, VERNIER_CACHE=str(tmp_path / "cache"))
    assert (cached, Path(place).parent) == ("True", tmp_path / "cache")
    assert not list(Path(place).rglob("*.nbc"))


def test_compiled_kernels_are_found_again(tmp_path):
    again = ("import numba.core.caching as caching\n"
             "def refuse(*args): raise AssertionError\n"
             "caching.IndexDataCacheFile.save = refuse")
    _, place = _compiles(tmp_path, VERNIER_CACHE=str(tmp_path / "cache"))
    assert list(Path(place).rglob("*.nbc"))
    assert _compiles(tmp_path, again, VERNIER_CACHE=str(tmp_path / "cache"))[1] == place


def test_kernels_with_no_place_at_all(tmp_path):
    full = f"import tempfile; tempfile.tempdir = {NOWHERE!r}"
    assert _compiles(tmp_path, full, HOME=NOWHERE) == ["False"]
