import pytest

from sim.common import code_digest


def test_digest_counts_code_and_what_it_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(code_digest, "_ROOT", tmp_path)
    for name in "sim", "golden":
        (tmp_path / name).mkdir()
    files = {"sim/one.py": '"""One."""\nfrom .two import f\n\n\ndef g():\n    return f()\n',
             "sim/two.py": "from golden import three\nimport numpy\n\n\ndef f():\n    return 1\n",
             "golden/three.py": "x = 3\n", "sim/__init__.py": "",
             "sim/unused.py": "y = 1\n"}

    def digest(**changed):
        for name, text in (files | changed).items():
            (tmp_path / name).write_text(text)
        code_digest.digest.cache_clear()
        return code_digest.digest("sim.one")

    try:
        before = digest()
        assert digest() == before
        assert digest(**{"sim/one.py": '"""Another\n\ntext."""\nfrom .two import (\n    f,\n)  # f'
                                       '\ndef g():\n    "Return f."\n    return f()\n'}) == before
        assert digest(**{"sim/unused.py": "y = 2\n"}) == before
        for name, text in (("sim/one.py", files["sim/one.py"].replace("f()", "f() + 1")),
                           ("sim/two.py", files["sim/two.py"].replace("1", "2")),
                           ("sim/__init__.py", "z = 1\n"), ("golden/three.py", "x = 4\n")):
            assert digest(**{name: text}) != before, name
    finally:
        code_digest.digest.cache_clear()


def test_a_module_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="must be those of this program, not 'sim.ptq.nothing'"):
        code_digest.digest("sim.cli", "sim.ptq.nothing")
