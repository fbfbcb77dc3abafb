import contextlib
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import distributed
import numpy as np
import pytest

from golden.network.precision import Precision
from sim.cli import UserError
from sim.common import code_digest
from sim.evaluation import chunks, dask_cluster, evaluation, preparation
from sim.evaluation.contender import Integer
from sim.shifts.shift import Shift
from tests.cases import networks, shipped, vits

COUNT = 2 * chunks.CHUNK + 10
SIDE = networks.SHAPE.image
PREPROCESSING = {"input_size": [3, SIDE, SIDE], "interpolation": "bicubic", "mean": [0.5] * 3,
                 "std": [0.5] * 3, "crop_pct": 1.0, "crop_mode": "center"}


@pytest.fixture(scope="module")
def client():
    with dask_cluster.cluster(workers=1, processes=False) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return shipped.images(tmp_path_factory.mktemp("images"), COUNT, SIDE)


@pytest.fixture
def images(folder):
    return chunks.listed(folder)


def prepared(path, method="oracle", seed=1):
    rule = "minmax" if method == "oracle" else None
    network = networks.network(Precision(4, 4), seed=seed)
    return preparation._write(path / f"{method}_{seed}.contender", method, "w4a4",
                              Integer(network, rule, shuffled=method == "shuffled"))


def wanted(one, count=COUNT, pixels=None):
    """Return classes and scales without chunks or workers."""
    pixels = vits.pixels(COUNT, SIDE) if pixels is None else pixels
    made = preparation.open_contender(one.path, one.sha256).run(pixels[:count])
    return np.argsort(-made.logits, axis=1, kind="stable")[:, :chunks.TOP], made.scales


class Bench:
    """Evaluates in a folder and counts what is computed."""

    def __init__(self, folder, client):
        self.folder, self.client, self.connected, self.done = folder, client, 0, []

    @contextlib.contextmanager
    def connect(self):
        self.connected += 1
        yield self.client

    def __call__(self, contenders, images, stop=None, preprocessing=PREPROCESSING,
                 shifts=(None,)):
        """Evaluate, and be interrupted as soon as so many chunks are stored."""
        self.done = []

        def progress(steps, what):
            for step in steps:
                yield step
                self.done.append(step[0].path.name)
                if len(self.done) == stop:
                    raise KeyboardInterrupt

        return evaluation.evaluate(contenders, images, preprocessing, self.folder, self.connect,
                                   progress, shifts=shifts)


@pytest.fixture
def bench(tmp_path, client):
    folder = tmp_path / "results"
    folder.mkdir()
    chunks.pixels_of.cache_clear()
    return Bench(folder, client)


def check(answers, contenders, count=COUNT):
    assert [one.prepared for one in answers] == contenders
    for one in answers:
        top, scales = wanted(one.prepared, count)
        np.testing.assert_array_equal(one.top, top)
        np.testing.assert_array_equal(one.scales, scales)


def test_each_image_counts_once_in_the_order_of_the_folder(bench, images, tmp_path):
    assert [one.name for one in images][:4] == ["class0/00.png", "class1/01.png", "class2/02.png",
                                                "class0/03.png"]
    contenders = [prepared(tmp_path), prepared(tmp_path, "mse")]
    check(bench(contenders, images), contenders)
    assert (len(bench.done), bench.connected) == (6, 1)
    check(bench(contenders, images), contenders)
    assert (bench.done, bench.connected) == ([], 1)  # nobody is asked for workers


def test_interrupted_run_does_only_the_rest(bench, images, tmp_path):
    contenders = [prepared(tmp_path), prepared(tmp_path, "mse")]
    with pytest.raises(KeyboardInterrupt):
        bench(contenders, images, stop=2)
    first = bench.done
    (bench.folder / f".{first[0]}.x.tmp").write_bytes(b"half")  # as a kill may leave
    check(bench(contenders, images), contenders)
    assert len(first) == 2
    assert len(bench.done) == 4
    assert not {*first} & {*bench.done}


def test_contenders_share_the_pixels_of_an_image(bench, images, tmp_path, monkeypatch):
    read, shifts = [], [None, chunks.Shifted(Shift("fog", 2), 1)]
    real = chunks.image_files.read
    monkeypatch.setattr(chunks.image_files, "read",
                        lambda path, colours: read.append(path) or real(path, colours))
    contenders = [prepared(tmp_path), prepared(tmp_path, "mse")]
    found = bench(contenders, images, shifts=shifts)
    assert [(one.prepared, one.shifted) for one in found] == [
        (one, shifted) for one in contenders for shifted in shifts]
    assert sorted(read) == sorted(2 * [image.path for image in images])


def test_error_of_an_image_keeps_what_was_done(bench, images, folder, tmp_path):
    contenders = [prepared(tmp_path)]
    last, away = images[-1].path, tmp_path / "away.png"
    last.rename(away)
    try:
        with pytest.raises(UserError, match=r"cannot read the image .*59\.png"):
            bench(contenders, images)
    finally:
        away.rename(last)
    before = {path.name for path in bench.folder.iterdir()}
    check(bench(contenders, images), contenders)
    assert not before & {*bench.done}
    assert len(before) + len(bench.done) == 3


def _half(data):
    return data[:len(data) // 2]


def _flipped(data):
    place = data.index(b"top.npy") + 200
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]


@pytest.mark.parametrize("damage", [_half, _flipped, lambda data: b"", lambda data: data[:-1],
                                    lambda data: b"x" * len(data)],
                         ids=["half", "flipped", "empty", "but one byte", "other"])
def test_damaged_results_are_made_again(bench, images, tmp_path, damage):
    contenders = [prepared(tmp_path)]
    bench(contenders, images)
    path = sorted(bench.folder.iterdir())[1]
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    check(bench(contenders, images), contenders)
    assert bench.done == [path.name]
    assert path.read_bytes() == whole


def test_no_flipped_bit_is_taken_for_whole(bench, images, tmp_path):
    one = prepared(tmp_path)
    bench([one], images[:5])
    chunk, = chunks.chunks(one, images[:5], PREPROCESSING, bench.folder)
    found, whole = chunk.load(), chunk.path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        chunk.path.write_bytes(changed)
        other = chunk.load()
        assert other is None or (other.names == found.names
                                 and (other.top == found.top).all()
                                 and (other.scales == found.scales).all()), place


def test_results_of_another_chunk_do_not_count(bench, images, tmp_path):
    contenders = [prepared(tmp_path)]
    bench(contenders, images)
    first, second, _ = sorted(bench.folder.iterdir())
    second.write_bytes(first.read_bytes())
    check(bench(contenders, images), contenders)
    assert bench.done == [second.name]


def test_other_contenders_and_preprocessing_have_results_of_their_own(bench, images, tmp_path):
    one, other = prepared(tmp_path), prepared(tmp_path, seed=2)
    check(bench([one], images), [one])
    check(bench([other], images), [other])
    assert len(bench.done) == 3
    larger = PREPROCESSING | {"crop_pct": 0.5}
    changed, = bench([one], images, preprocessing=larger)
    assert len(bench.done) == 3
    assert not np.array_equal(changed.scales, wanted(one)[1])
    check(bench([one, other], images), [one, other])
    assert not bench.done
    assert bench([one], images, preprocessing=larger)[0].top.tolist() == changed.top.tolist()


@pytest.mark.parametrize("name", ["decoding", "preprocessing"])
def test_results_of_other_pixels_do_not_count(images, tmp_path, monkeypatch, name):
    one, root = prepared(tmp_path), tmp_path / "code"
    for package in ("golden", "sim"):
        shutil.copytree(code_digest._ROOT / package, root / package,
                        ignore=lambda folder, names: [
                            each for each in names if not each.endswith(".py")
                            and not (Path(folder) / each).is_dir()])
    before, = chunks.chunks(one, images[:5], PREPROCESSING, tmp_path)
    monkeypatch.setattr(code_digest, "_ROOT", root)
    code_digest.digest.cache_clear()
    try:
        assert chunks.chunks(one, images[:5], PREPROCESSING, tmp_path) == [before]
        with (root / "sim" / "inputs" / f"{name}.py").open("a") as file:
            file.write("CHANGED = True\n")
        code_digest.digest.cache_clear()
        changed, = chunks.chunks(one, images[:5], PREPROCESSING, tmp_path)
        assert changed.path != before.path
        assert changed.key != before.key
    finally:
        code_digest.digest.cache_clear()


def shifted(pixels, images, shift, seed):
    return np.stack([shift.apply(one, image.sha256, seed)
                     for one, image in zip(pixels, images, strict=True)])


def test_shifts_act_on_the_pixels_of_each_image(bench, images, tmp_path):
    contenders = [prepared(tmp_path), prepared(tmp_path, "mse")]
    noise = chunks.Shifted(Shift("gaussian_noise", 5), 1)
    dark = chunks.Shifted(Shift("dark", 3), 1)
    answers = bench(contenders, images, shifts=(None, noise, dark))
    assert [(one.prepared, one.shifted) for one in answers] == [
        (one, shift) for one in contenders for shift in (None, noise, dark)]
    assert (len(bench.done), bench.connected) == (18, 1)
    check([one for one in answers if one.shifted is None], contenders)
    # of the folder's order, not of the files' names
    order = [int(image.path.stem) for image in images]
    pixels = vits.pixels(COUNT, SIDE)[order]
    for one in answers:
        if one.shifted is not None:
            top, scales = wanted(one.prepared, pixels=shifted(pixels, images, one.shifted.shift, 1))
            np.testing.assert_array_equal(one.top, top)
            np.testing.assert_array_equal(one.scales, scales)
    again = bench(contenders, images, shifts=(None, noise, dark))
    assert not bench.done
    for one, other in zip(again, answers, strict=True):
        np.testing.assert_array_equal(one.top, other.top)


def test_shifted_results_do_not_depend_on_which_images_are_chosen(bench, images, tmp_path):
    one, noise = prepared(tmp_path, "mse"), chunks.Shifted(Shift("gaussian_noise", 5), 1)
    whole, = bench([one], images, shifts=[noise])
    some, = bench([one], images[30:10:-1], shifts=[noise])
    np.testing.assert_array_equal(some.top, whole.top[30:10:-1])


def test_interrupted_run_under_shifts_does_only_the_rest(bench, images, tmp_path):
    contenders = [prepared(tmp_path)]
    shifts = [None, chunks.Shifted(Shift("fog", 1), 1), chunks.Shifted(Shift("fog", 2), 1)]
    with pytest.raises(KeyboardInterrupt):
        bench(contenders, images, stop=4, shifts=shifts)
    first = bench.done
    bench(contenders, images, shifts=shifts)
    assert (len(first), len(bench.done)) == (4, 5)
    assert not {*first} & {*bench.done}
    check(bench(contenders, images), contenders)
    assert not bench.done  # images as they are were among them
    other = [chunks.Shifted(Shift("fog", 1), 2)]
    bench(contenders, images, shifts=other)
    assert len(bench.done) == 3


def test_results_of_images_as_they_are_do_not_depend_on_shifts(images, tmp_path, monkeypatch):
    one = prepared(tmp_path)
    fog = chunks.Shifted(Shift("fog", 1), 1)
    plain, = chunks.chunks(one, images[:5], PREPROCESSING, tmp_path)
    foggy, = chunks.chunks(one, images[:5], PREPROCESSING, tmp_path, fog)
    assert plain.path != foggy.path
    assert "_fog-1_" in foggy.path.name
    real = chunks.digest
    monkeypatch.setattr(chunks, "digest", lambda *modules: real(*modules) + str(
        "sim.shifts.shift" in modules))
    assert chunks.code_of(one).endswith("False")
    assert chunks.code_of(one, fog).endswith("True")


def test_further_images_keep_the_chunks_before(bench, images, tmp_path):
    contenders, chunk = [prepared(tmp_path)], chunks.CHUNK
    check(bench(contenders, images[:2 * chunk]), contenders, 2 * chunk)
    check(bench(contenders, images), contenders)
    assert len(bench.done) == 1


def test_last_image_alone_joins_the_chunk_before(bench, images, tmp_path):
    count = chunks.CHUNK + 1
    contenders = [prepared(tmp_path, "shuffled")]  # each takes the scales of another image
    check(bench(contenders, images[:count]), contenders, count)
    assert len(bench.done) == 1


def test_changed_files_are_noticed(bench, images, tmp_path, folder):
    one = prepared(tmp_path)
    content = images[0].path.read_bytes()
    try:
        images[0].path.write_bytes(images[1].path.read_bytes())
        with pytest.raises(UserError, match=r"00\.png was changed meanwhile"):
            bench([one], images)
    finally:
        images[0].path.write_bytes(content)
    one.path.write_bytes(one.path.read_bytes() + b" ")
    chunks._contender.cache_clear()  # the workers are in this process
    with pytest.raises(UserError, match=r"oracle_1\.contender was changed meanwhile"):
        bench([one], images[:5])


def test_a_file_in_which_an_image_counts_twice_is_made_anew(bench, images, tmp_path):
    one = prepared(tmp_path)
    bench([one], images)
    chunk = chunks.chunks(one, images, PREPROCESSING, bench.folder)[2]
    found = chunk.load()
    chunk.store(chunks.Found([found.names[0], *found.names[:-1]], found.top, found.scales))
    assert chunk.load() is None
    bench([one], images)
    assert chunk.load().names == found.names


def test_an_image_that_counts_twice_is_an_error(bench, images, tmp_path):
    one = prepared(tmp_path)
    bench([one], images)
    found = [chunk.load() for chunk in chunks.chunks(one, images, PREPROCESSING, bench.folder)]
    assert evaluation._joined(one, found, images).top.shape[0] == len(images)
    found[-1] = chunks.Found([found[0].names[0], *found[-1].names[1:]], found[-1].top, None)
    with pytest.raises(RuntimeError, match="does not count exactly once"):
        evaluation._joined(one, found, images)


def test_workers_of_a_running_scheduler_are_used(bench, images, tmp_path):
    contenders = [prepared(tmp_path)]
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False,
                                  protocol="tcp://", dashboard_address=None,
                                  scheduler_kwargs=dask_cluster._NO_DASHBOARD) as local:
        bench.connect = partial(dask_cluster.cluster, local.scheduler_address)
        check(bench(contenders, images), contenders)
    assert len(bench.done) == 3


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://x"])
def test_missing_scheduler_is_one_line(address, monkeypatch):
    monkeypatch.setattr(dask_cluster, "TIMEOUT", 0.5)
    with (pytest.raises(UserError, match=f"no use of dask at {address}: .") as error,
          dask_cluster.cluster(address)):
        pass
    assert "\n" not in str(error.value)


@pytest.mark.long
def test_killed_worker_costs_nothing_but_time(bench, images, tmp_path):
    contenders = [prepared(tmp_path, method, seed) for method in ("oracle", "mse", "shuffled")
                  for seed in (1, 2)]
    killed = []

    def progress(steps, what):
        for number, step in enumerate(steps):
            if number == 0:  # others are on their way
                victim = min(bench.client.run(os.getpid).values())
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
            yield step

    with dask_cluster.cluster(workers=2) as bench.client:
        answers = evaluation.evaluate(contenders, images, PREPROCESSING, bench.folder,
                                      bench.connect, progress)
        assert not {*killed} & {*bench.client.run(os.getpid).values()}
    assert len(killed) == 1
    for one in answers:
        assert one.top.shape == (COUNT, chunks.TOP)
        if one.prepared.method != "shuffled":  # whose images are swapped within a chunk
            check([one], [one.prepared])
