"""Buckets and crops, as properties over many sizes."""

import itertools

import numpy as np
import pytest
from PIL import Image

from lorastyle.data.buckets import apply_crop, buckets, plan_crop
from lorastyle.errors import BadInput

GRIDS = [(128, 8), (128, 64), (256, 8), (500, 64), (512, 8), (512, 64), (768, 64), (1024, 64), (64, 64)]
SIDES = [1, 7, 60, 100, 128, 129, 333, 512, 640, 1000, 1080, 1920, 4032, 9999]
FOCUSES = [(0.5, 0.5), (0.0, 0.0), (1.0, 1.0), (0.1, 0.9)]


@pytest.mark.parametrize(("resolution", "divisor"), GRIDS)
def test_buckets_are_multiples_of_the_divisor_and_of_about_the_area(resolution: int, divisor: int) -> None:
    sizes = buckets(resolution, divisor)
    # A side is at most half a divisor off: of a square both sides are
    tolerance = divisor / resolution + (divisor / (2 * resolution)) ** 2
    for width, height in sizes:
        assert width % divisor == height % divisor == 0
        assert abs(width * height / resolution**2 - 1) <= tolerance
    assert {(height, width) for width, height in sizes} == set(sizes)
    assert any(width == height for width, height in sizes)


def test_buckets_of_the_small_base() -> None:
    wanted = [(64, 256), (72, 224), (80, 208), (88, 184), (96, 168), (104, 160), (112, 144), (120, 136), (128, 128)]
    assert [size for size in buckets(128, 8) if size[0] <= size[1]] == wanted


@pytest.mark.parametrize(("resolution", "divisor"), GRIDS)
@pytest.mark.parametrize("focus", FOCUSES)
def test_crops_lie_in_the_picture_and_lose_what_they_say(
    resolution: int, divisor: int, focus: tuple[float, float]
) -> None:
    for width, height in itertools.product(SIDES, SIDES):
        crop = plan_crop(width, height, resolution, divisor, focus)
        left, top, right, bottom = crop.box
        assert crop.bucket in buckets(resolution, divisor)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        # Floating-point rounding of a few operations on numbers up to 10^4
        assert right - left == pytest.approx(crop.bucket[0] / crop.scale, rel=1e-9)
        assert bottom - top == pytest.approx(crop.bucket[1] / crop.scale, rel=1e-9)
        assert crop.lost == pytest.approx(1 - (right - left) * (bottom - top) / (width * height), abs=1e-9)
        assert 0 <= crop.lost < 1
        assert right - left == pytest.approx(width) or bottom - top == pytest.approx(height)  # no smaller than need be


@pytest.mark.parametrize(("resolution", "divisor"), GRIDS)
def test_no_other_bucket_would_lose_less(resolution: int, divisor: int) -> None:
    for width, height in itertools.product(SIDES, SIDES):
        ratios = [width / height / (bucket[0] / bucket[1]) for bucket in buckets(resolution, divisor)]
        least = min(1 - min(ratio, 1 / ratio) for ratio in ratios)
        assert plan_crop(width, height, resolution, divisor).lost == pytest.approx(least, abs=1e-8)


def test_common_proportions_lose_little_at_fine_divisors() -> None:
    for width, height in [(4, 3), (3, 2), (16, 9), (1, 1), (2, 1)]:
        for size in ((width * 500, height * 500), (height * 500, width * 500)):
            assert plan_crop(*size, resolution=128, divisor=8).lost < 0.06
            assert plan_crop(*size, resolution=1024, divisor=64).lost < 0.06


def test_the_sample_pictures_lose_nothing() -> None:
    crop = plan_crop(512, 512, resolution=128, divisor=8)
    assert (crop.bucket, crop.box, crop.scale, crop.lost) == ((128, 128), (0, 0, 512, 512), 0.25, 0)
    assert crop.notes == ()


@pytest.mark.parametrize(("resolution", "divisor"), GRIDS)
def test_nothing_is_enlarged_without_a_note(resolution: int, divisor: int) -> None:
    for width, height in itertools.product(SIDES, SIDES):
        crop = plan_crop(width, height, resolution, divisor)
        enlarged = crop.bucket[0] > 1.01 * (crop.box[2] - crop.box[0])
        assert enlarged == any("is enlarged" in note for note in crop.notes) or crop.scale == pytest.approx(1, abs=0.01)
        assert (crop.lost > 0.1) == any("loses" in note for note in crop.notes)


def test_the_notes_in_words() -> None:
    assert plan_crop(60, 60, 128, 8).notes == ("is enlarged 2.1 times, to 128 x 128 pixels",)
    assert plan_crop(126, 126, 128, 8).notes == ("is enlarged slightly, to 128 x 128 pixels",)
    assert plan_crop(2000, 250, 128, 8).notes == ("loses 50% of its area to the crop to 256 x 64",)


def test_the_crop_follows_its_focus() -> None:
    def lefts(height: int) -> list[float]:
        return [plan_crop(2000, height, 128, 64, focus=(share, 0.5)).box[0] for share in (0.0, 0.3, 0.5, 0.7, 1.0)]

    assert lefts(1000) == [0, 100, 500, 900, 1000]


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"width": 0, "height": 9, "resolution": 128}, "size"),
        ({"width": 9, "height": 9, "resolution": 128, "focus": (1.5, 0.5)}, "focus"),
        ({"width": 9, "height": 9, "resolution": 32}, "resolution"),
    ],
)
def test_nonsense_is_refused(arguments: dict[str, object], where: str) -> None:
    with pytest.raises(BadInput) as caught:
        plan_crop(**arguments)  # type: ignore[arg-type]
    assert caught.value.where == where


def test_the_crop_is_what_was_planned() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))
    crop = plan_crop(300, 100, 64, 64, focus=(0.5, 0.5))
    result = apply_crop(image, crop)
    assert result.size == (64, 64)
    inner = np.asarray(result)[:, 4:-4].reshape(-1, 3)  # at the edges the filter looks at the picture beyond the box
    assert np.unique(inner, axis=0).tolist() == [[0, 0, 255]]


def test_downscaling_is_antialiased() -> None:
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    result = np.asarray(apply_crop(Image.fromarray(stripes), plan_crop(256, 256, 64, 64)))
    inner = result[:, 4:-4]  # at the borders the filter has less to average
    assert np.abs(inner.astype(int) - 128).max() <= 2
