import pytest

from sim import report
from tests.cases.reports import write_runs


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Files that a report is made of: a run, a comparison, an exploration, accuracies."""
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def path(files):
    """A report of all of them."""
    out = files[0].with_name("report.html")
    assert report.main([*map(str, files), "--out", str(out), "--title", "A <title>"]) == 0
    return out


@pytest.fixture(scope="session")
def page(path):
    """Its text."""
    return path.read_text()
