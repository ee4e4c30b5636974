"""What the camera adds is taken off, and nothing else changes."""

import numpy as np
import pytest

from subcell.errors import ImageError
from subcell.imaging.camera import Camera, bit_depth, flat_field_name, is_stretched

ALL = ("microtubules", "er", "nucleus", "protein")


def counts(offset=100, side=64):
    image = np.random.default_rng(0).integers(0, 50, (4, side, side)).astype(np.uint16) + np.uint16(offset)
    image[:, 20:40, 20:40] += 1000
    return image


def test_nothing_is_corrected_by_default():
    image = counts()
    corrected, offsets = Camera().correct(image, ALL)
    assert corrected is image
    assert offsets == {}


def test_the_offset_is_found_in_each_channel_and_never_goes_below_zero():
    image = counts()
    image[1] += 300
    corrected, offsets = Camera(offset="auto").correct(image, ("er", "nucleus"))
    assert offsets["er"] == pytest.approx(400, abs=1)
    assert offsets["nucleus"] == pytest.approx(100, abs=1)
    assert (corrected[0] == image[0]).all()
    assert corrected[1].min() == 0
    assert corrected[1].max() == image[1].max() - offsets["er"]
    assert corrected.dtype == image.dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_display_stretched_channels_keep_their_zero(dtype):
    image = counts(side=1024)
    low, high = np.percentile(image, (0.001, 99.999), axis=(1, 2), keepdims=True)
    stretched = np.rint(np.clip((image - low) / (high - low), 0, 1) * np.iinfo(dtype).max).astype(dtype)
    assert all(is_stretched(plane) for plane in stretched)
    assert Camera(offset="auto").correct(stretched, ALL)[0] is stretched


def test_dead_and_hot_pixels_do_not_make_a_raw_field_a_stretched_one():
    image = counts(offset=500, side=1024)
    image[:, 7, :4], image[:, 9, :4] = 0, 65535
    corrected, offsets = Camera(offset="auto").correct(image, ALL)
    assert offsets == pytest.approx(dict.fromkeys(ALL, 500), abs=1)
    assert np.median(corrected) < 50


def test_given_offsets_and_shifts_are_applied():
    image = counts(offset=0)
    image[3] = np.roll(image[3], (2, -3), (0, 1))
    corrected, offsets = Camera(offset={"er": 7}, shift_px={"protein": (2, -3)}).correct(image, ALL)
    assert offsets == {"er": 7}
    assert (corrected[1] == np.clip(image[1].astype(int) - 7, 0, None)).all()
    assert (corrected[3, 10:50, 10:50] == np.roll(image[3], (-2, 3), (0, 1))[10:50, 10:50]).all()


def test_an_even_field_comes_out_of_an_uneven_one(tmp_path):
    import tifffile

    gain = np.linspace(0.5, 1.5, 64, dtype=np.float32)[None].repeat(64, axis=0)
    path = tmp_path / flat_field_name("p/1", "er")
    path.parent.mkdir()
    tifffile.imwrite(path, gain)
    image = np.zeros((4, 64, 64), np.uint16)
    image[1] = np.rint(1000 * gain)
    camera = Camera(flat_field=tmp_path)
    corrected, _ = camera.correct(image, ("er",), plate="p/1")
    assert np.abs(corrected[1].astype(int) - 1000).max() <= 1
    with pytest.raises(ImageError, match="no flat field of the channel er of plate p2"):
        camera.correct(image, ("er",), plate="p2")


@pytest.mark.parametrize(("brightest", "bits"), [(900, 10), (4095, 12), (4096, 14), (65535, 16)])
def test_bits_are_the_fewest_that_hold_the_brightest_pixel(brightest, bits):
    assert bit_depth(np.array([[0, brightest]], np.uint16)) == bits
    assert bit_depth(np.zeros((2, 2), np.uint8)) == 8
