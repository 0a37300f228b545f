"""Dataset steps: synthetic photographs, and folders with a bad image among the good."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runner.errors import SetupError
from runner.scenario.schema import FolderDataset, SyntheticJpegDataset
from runner.setup.dataset import ImageFolder, SyntheticJpegs
from runner.setup.digest import DigestCache, files_below
from runner.setup.synthetic import write_images
from tests.contracts.step import StepContract, run


def synthetic(**rest: Any) -> SyntheticJpegs:
    values = {"count": 3, "seed": 1, "width": (64, 128), **rest}
    return SyntheticJpegs("images", SyntheticJpegDataset(kind="dataset", source="synthetic_jpeg", **values))


class TestSyntheticContract(StepContract):
    @pytest.fixture
    def step(self) -> SyntheticJpegs:
        return synthetic()


class TestFolderContract(StepContract):
    @pytest.fixture
    def step(self, photos: Path, tmp_path: Path) -> ImageFolder:
        return folder(photos, tmp_path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    (path / "sub").mkdir(parents=True)
    for name in ("b.jpg", "a.JPEG", "sub/c.jpg"):
        Image.new("RGB", (32, 24), len(name)).save(path / name, "JPEG")
    (path / "notes.txt").write_text("not an image")
    return path


def folder(path: Path, tmp_path: Path, **rest: Any) -> ImageFolder:
    config = FolderDataset(kind="dataset", source="folder", path=str(path), **rest)
    return ImageFolder("images", config, DigestCache(tmp_path / "digests.json"))


def test_images_vary_in_size_and_compress_like_photographs(tmp_path: Path) -> None:
    write_images(tmp_path, 12, 0, (320, 1280), 85)
    files = sorted(tmp_path.iterdir())
    sizes = set()
    for file in files:
        with Image.open(file) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert 320 <= image.width <= 1280
            sizes.add(image.size)
            bits_per_pixel = file.stat().st_size * 8 / (image.width * image.height)
        assert 0.4 < bits_per_pixel < 4, "flat colours are far below, white noise is far above"
    assert len(sizes) > 8
    assert 30_000 < sum(file.stat().st_size for file in files) / len(files) < 150_000


def test_the_seed_decides_and_more_images_keep_the_first(tmp_path: Path) -> None:
    for name, (count, seed) in {"a": (2, 0), "b": (3, 0), "c": (2, 1)}.items():
        (tmp_path / name).mkdir()
        write_images(tmp_path / name, count, seed, (16, 48), 85)
    first, more, other = ((tmp_path / name / "000001.jpg").read_bytes() for name in "abc")
    assert first == more != other


def test_synthetic_data_is_labelled_and_described_by_its_parameters(tmp_path: Path) -> None:
    product, seen = run(synthetic(), {}, tmp_path)
    assert product.labels == {"images": "synthetic, seed 1"}
    assert [(p.done, p.total) for p in seen] == [(1, 3), (2, 3), (3, 3)]
    before, after = synthetic().fingerprint({}), synthetic(seed=2).fingerprint({})
    assert {key for key in before if before[key] != after[key]} == {"seed"}
    assert {"version of pillow", "version of numpy", "generator"} <= before.keys()


def test_a_folder_gives_its_images_in_order(photos: Path, tmp_path: Path) -> None:
    product, _ = run(folder(photos, tmp_path), {}, tmp_path / "work")
    assert files_below(product.path) == ["a.JPEG", "b.jpg", "sub/c.jpg"]
    assert product.labels == {"images": "folder photos"}
    product, _ = run(folder(photos, tmp_path, limit=1), {}, tmp_path / "one")
    assert [p.name for p in product.path.iterdir()] == ["a.JPEG"]


def test_a_folder_is_known_by_its_content(photos: Path, tmp_path: Path) -> None:
    before = folder(photos, tmp_path).fingerprint({})
    (photos / "notes.txt").write_text("ignored")
    assert folder(photos, tmp_path).fingerprint({}) == before
    Image.new("RGB", (8, 8)).save(photos / "b.jpg", "JPEG")
    assert folder(photos, tmp_path).fingerprint({}) != before


def test_every_corrupt_image_is_named_with_a_remedy(photos: Path, tmp_path: Path) -> None:
    good = (photos / "b.jpg").read_bytes()
    (photos / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (photos / "text.jpg").write_text("hello")
    (photos / "empty.jpg").write_bytes(b"")
    with pytest.raises(SetupError, match=r"3 of 6 images in .*photos cannot be decoded") as caught:
        run(folder(photos, tmp_path), {}, tmp_path / "work")
    lines = caught.value.message.splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["empty.jpg", "text.jpg", "truncated.jpg"]
    assert "setup.images.pattern" in str(caught.value.hint)


def test_a_long_list_of_corrupt_images_is_cut(photos: Path, tmp_path: Path) -> None:
    for number in range(8):
        (photos / f"x{number}.jpg").write_text("bad")
    with pytest.raises(SetupError, match=r"and 3 more, see .*step.log"):
        run(folder(photos, tmp_path), {}, tmp_path / "work")
    assert (tmp_path / "work" / "step.log").read_text().count("is no image") == 8


def test_a_missing_or_empty_folder_is_named(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"setup.images.path: .*/none: no such folder"):
        folder(tmp_path / "none", tmp_path).fingerprint({})
    with pytest.raises(SetupError, match=r"no file in .* matches \*.png"):
        folder(photos, tmp_path, pattern="*.png").fingerprint({})


def test_without_pillow_the_remedy_is_told(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "PIL" or name == "runner.setup.synthetic":
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for number, step in enumerate((synthetic(), folder(photos, tmp_path))):
        with pytest.raises(SetupError, match="images need the package pillow") as caught:
            run(step, {}, tmp_path / str(number))
        assert caught.value.hint == "pip install pillow"
