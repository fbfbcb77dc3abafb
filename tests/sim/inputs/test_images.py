import importlib.util

import pytest
from PIL import Image

from sim.cli import UserError
from sim.inputs import images


def test_packaged_images_are_free():
    found = images.packaged()
    assert [source for source, _ in found] == list(images.PACKAGED)
    assert {source.licence for source, _ in found} <= {"CC0", "public domain"}
    assert all(image.mode == "RGB" and min(image.size) >= 224 for _, image in found)


def test_packaged_images_need_scikit_image(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"need scikit-image .* or name a folder with --images"):
        images.packaged()


def test_other_packaged_images_are_noticed(monkeypatch):
    changed = images.Source("chelsea.png", "0" * 64, "scikit-image", "CC0", "x")
    monkeypatch.setattr(images, "PACKAGED", (changed,))
    with pytest.raises(UserError, match="scikit-image has another chelsea.png than expected"):
        images.packaged()


@pytest.fixture
def folder(tmp_path):
    for name in "b.png", "a.JPG", "c.webp":
        Image.new("L", (8, 8), 3).save(tmp_path / name)
    (tmp_path / "labels.csv").write_text("file,label\n")
    return tmp_path


def test_folder_is_read_in_the_order_of_names(folder):
    found = images.folder(folder)
    assert [source.file for source, _ in found] == ["a.JPG", "b.png", "c.webp"]
    assert all(image.mode == "RGB" for _, image in found)
    assert found[0][0].licence is None
    assert len(images.folder(folder, 2)) == 2


def test_folders_in_a_folder_take_turns(folder):
    for name in "y/2.png", "y/1.png", "y/3.png", "x/z/9.png", "x/.thumbnails/1.png", "x/.a.png":
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 3).save(path)
    found = [str(path.relative_to(folder)) for path in images.files(folder)]
    assert found == ["a.JPG", "x/z/9.png", "y/1.png", "b.png", "y/2.png", "c.webp", "y/3.png"]
    assert len(images.folder(folder)) == 7


def test_folder_without_images(tmp_path):
    with pytest.raises(UserError, match=r"has no images \(\.jpg, "):
        images.folder(tmp_path)


def test_missing_folder(folder):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        images.folder(folder / "nowhere")
    with pytest.raises(UserError, match="b.png is not a folder"):
        images.folder(folder / "b.png")


@pytest.mark.parametrize("name", ["b.png", "a.JPG"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
def test_broken_image_is_named(folder, name, keep):
    path = folder / name
    Image.effect_noise((64, 64), 50).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:int(keep * len(data))])
    with pytest.raises(UserError, match=rf"^cannot read the image .*{name}: [^\n]+$"):
        images.folder(folder)


def test_image_that_is_a_folder(folder):
    (folder / "d.png").mkdir()
    with pytest.raises(UserError, match=r"cannot read the image .*d.png: Is a directory"):
        images.folder(folder)


@pytest.fixture
def linked(tmp_path):
    """Make a folder whose classes are links to folders elsewhere."""
    root = tmp_path / "root"
    root.mkdir()
    for name in "x", "y":
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (root / name).symlink_to(tmp_path / "elsewhere" / name)
        for number in 1, 2:
            Image.new("L", (8, 8), 3).save(root / name / f"{number}.png")
    return root


def names(root):
    return [path.relative_to(root).as_posix() for path in images.files(root)]


def test_links_to_folders_are_followed(linked):
    assert names(linked) == ["x/1.png", "y/1.png", "x/2.png", "y/2.png"]
    (linked / "z").symlink_to(linked.parent / "elsewhere" / "x")  # the same ones, of another class
    assert names(linked) == ["x/1.png", "y/1.png", "z/1.png", "x/2.png", "y/2.png", "z/2.png"]


def test_a_folder_that_is_a_link(linked):
    (linked.parent / "link").symlink_to(linked)
    assert len(images.files(linked.parent / "link")) == 4


def test_links_in_a_circle_are_left(linked):
    before = names(linked)
    (linked / "x" / "up").symlink_to(linked)
    (linked / "here").symlink_to(".")
    (linked / "self").symlink_to("self")
    assert names(linked) == before


def test_linked_image(linked):
    (linked / "y" / "3.png").symlink_to(linked / "x" / "1.png")
    assert "y/3.png" in names(linked)


def test_folder_that_cannot_be_read_is_named(linked, monkeypatch):
    real = images.os.scandir

    def scandir(path):
        if path.name == "y":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(images.os, "scandir", scandir)
    with pytest.raises(UserError, match=r"cannot read the folder .*y: Permission denied"):
        images.files(linked)
