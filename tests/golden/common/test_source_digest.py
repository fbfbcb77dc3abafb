"""What compiled kernels and compiled cores are kept under changes with every source file."""

import golden
from sim.harness import executable


def test_an_edit_in_a_subfolder_changes_the_digest(tmp_path):
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    inner = tmp_path / "deep" / "deeper" / "unit.py"
    inner.write_text("x = 1\n")
    (tmp_path / "unit.py").write_text("x = 1\n")
    digests = {golden.source_digest(tmp_path)}
    inner.write_text("x = 2\n")
    digests.add(golden.source_digest(tmp_path))
    inner.rename(inner.parent.parent / "unit.py")
    digests.add(golden.source_digest(tmp_path))
    assert len(digests) == 3


def test_a_compiled_core_depends_on_every_source(tmp_path, monkeypatch):
    monkeypatch.setattr(executable, "_ROOT", tmp_path)
    files = [tmp_path / package / "subject" / "unit.py" for package in ("golden", "rtl")]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("x = 1\n")
    before = executable._sources()
    assert executable._sources() == before
    for file in files:
        file.write_text("x = 2\n")
        assert executable._sources() != before
        file.write_text("x = 1\n")
    assert executable._sources() == before
