"""Labels as people have them: tables, lists, folders of classes."""

import codecs
import re

import numpy as np
import pytest

from sim.cli import UserError
from sim.inputs.labels import read_labels

NAMES = ["a.png", "b.png", "c d.png"]
LABELS = [3, 0, 12]


def _written(tmp_path, data):
    path = tmp_path / "labels.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("text", [
    "file,label\na.png,3\nb.png,0\nc d.png,12\n",
    'label,other,File\n3,x,a.png\n0,"y,\n",b.png\n12,,"c d.png"\n',
    "file;label\na.png;3\nb.png;0\nc d.png;12\n",
    "file\tlabel\na.png\t3\nb.png\t0\nc d.png\t12\n",
    "\n\nfile , label\n\na.png, 3\nb.png,0\n,\nc d.png,12",
    "a.png 3\nb.png 0\nc d.png 12\n",
    "file label\na.png   3\n\n  b.png\t0\nc d.png 12",
    "./val/a.png 3\nval/b.png 0\nval/c d.png 12\n",
    "val\\a.png 3\nval\\b.png 0\nval\\c d.png 12\n",
], ids=["csv", "columns", "semicolons", "tabs", "blanks", "list", "titled", "folders", "windows"])
@pytest.mark.parametrize("encode", [
    lambda text: text.encode(),
    lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    lambda text: text.replace("\n", "\r").encode(),
], ids=["unix", "mark", "utf16", "utf16be", "returns"])
def test_tables_and_lists(tmp_path, text, encode):
    found = read_labels(_written(tmp_path, encode(text)), NAMES, 13)
    assert found.dtype == np.int64
    assert found.tolist() == LABELS


def test_wordnet_ids_of_imagenet(tmp_path):
    path = _written(tmp_path, "a.png n01440764\nb.png n15075141\nc d.png 7\n")
    assert read_labels(path, NAMES, 1000).tolist() == [0, 999, 7]
    with pytest.raises(UserError, match=r"line 1: a.png has no class of 0\.\.9, label 'n01440764'"):
        read_labels(path, NAMES, 10)


def test_the_longest_end_of_a_path_that_is_known(tmp_path):
    path = _written(tmp_path, "x/1.png 1\ny/1.png 2\n1.png 3\nz/2.png 4\n")
    names = ["x/1.png", "y/1.png", "w/1.png", "2.png", "v/z/2.png", "u/2.png"]
    assert read_labels(path, names, 5).tolist() == [1, 2, 3, 4, 4, 4]


def test_a_name_in_several_folders_of_the_labels(tmp_path):
    path = _written(tmp_path, "x/1.png 1\ny/1.png 2\n")
    with pytest.raises(UserError, match=r"labels.txt has several labels of w/1.png \(and 1 more\)"):
        read_labels(path, ["x/1.png", "w/1.png", "1.png"], 5)


def _folders(tmp_path, *names):
    for number, name in enumerate(names):
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / f"{number}.JPEG").write_bytes(b"")
        (tmp_path / "val" / name / "same.png").write_bytes(b"")
    return tmp_path / "val"


@pytest.mark.parametrize(("folders", "classes", "labels"), [
    (("cat", "dog", "Ape"), 3, [1, 2, 0]),
    (("2", "10", "0"), 11, [2, 10, 0]),
    (("n01443537", "n01440764"), 1000, [1, 0]),
    (("n01443537", "n01440764"), 2, [1, 0]),
    (("007", "001"), 100, [7, 1]),
])
def test_folders_of_classes(tmp_path, folders, classes, labels):
    path = _folders(tmp_path, *folders)
    (path / ".hidden").mkdir()
    (path / "notes.txt").write_text("")
    deep = [f"{folder}/{number}.JPEG" for number, folder in enumerate(folders)]
    flat = [f"{number}.JPEG" for number, _ in enumerate(folders)]
    for names in deep, flat, [f"{folder}/same.png" for folder in folders]:
        assert read_labels(path, names, classes).tolist() == labels
    with pytest.raises(UserError, match=r"val has several labels of same.png$"):
        read_labels(path, ["same.png"], classes)


@pytest.mark.parametrize(("folders", "classes", "message"), [
    ((), 3, "labels must be a table, a list, or .*, but .*val has no folders$"),
    (("cat", "dog"), 3, "folders in .*val must be 3 classes, or their indices, not 2 like 'cat'$"),
    (("cat", "dog"), 1000, "1000 classes, or their indices or WordNet IDs, not 2 like 'cat'"),
    (("n00000000",), 1000, "1000 classes, or their indices or WordNet IDs, not 1 like 'n00000000'"),
    (("1", "01"), 3, "must be classes, each once, not 01, 1$"),
    (("0", "1"), 3, r"val has no label of 9.JPEG$"),
])
def test_folders_that_are_no_classes(tmp_path, folders, classes, message):
    (tmp_path / "val").mkdir()
    for name in folders:
        (tmp_path / "val" / name).mkdir()
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "val", ["9.JPEG"], classes)


@pytest.mark.parametrize(("data", "message"), [
    ("file,class\na.png,3\n",
     "must be CSV with the columns file and label, or lines of .*, not line 1 with file, class$"),
    ("\na.png,3\nb.png,0\n", "not line 2 with a.png, 3$"),
    ("3\n0\n12\n", "line 1: a line must be a file and a label, not '3'$"),
    ("a.png 3\nb.png\n", "line 2: a line must be a file and a label, not 'b.png'$"),
    ("a.png 3\nb.png x\n", r"line 2: b.png has no class of 0\.\.12, label 'x'$"),
    ("a.png 3\nb.png 13\n", r"line 2: b.png has no class of 0\.\.12, label '13'$"),
    ("a.png 3\na.png 4\n", "line 2: a.png has another label before, label '4'$"),
    ("file,label\n\na.png\n", r"line 3: a.png has no class of 0\.\.12, label ''$"),
    ("file,label\na.png,-1\n", r"line 2: a.png has no class of 0\.\.12, label '-1'$"),
    ("file,label\na.png,\u0663\n", r"line 2: a.png has no class of 0\.\.12, label '\u0663'$"),
    ("file,label\na.png,3\n", r"has no label of b.png \(and 1 more\)$"),
    ("", "has no labels: it is empty$"), ("\r\n \n", "has no labels: it is empty$"),
    (b"file,label\n\xe4.png,3\n", r"has no label of a.png \(and 2 more\)$"),
    ("file,label\n".encode("utf-16-le"), "UTF-16 without a mark$"),
    (b"\xff\xfef\0i", "must be UTF-8, or UTF-16 with a byte order mark, not b'i' in line 1$"),
])
def test_labels_that_make_no_sense_name_file_line_and_what_is_there(tmp_path, data, message):
    path = _written(tmp_path, data)
    with pytest.raises(UserError, match=message) as caught:
        read_labels(path, NAMES, 13)
    assert str(path) in str(caught.value)
    assert not re.search(r"[\n\0]", str(caught.value))


def test_labels_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"^cannot read .*none.csv: No such file or directory$"):
        read_labels(tmp_path / "none.csv", NAMES, 13)
