"""Reading images: formats, colours, planes, bounds and damage."""

import os
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter

from subcell.catalog.planes import Plane, parse_plane, split_plane
from subcell.channels import CHANNELS
from subcell.errors import ImageError
from subcell.imaging.ledger import ledger_table, read_ledger, write_ledger
from subcell.imaging.read import read_field, read_labels, read_plane


def picture(seed=0, shape=(40, 56), dtype=np.uint8):
    """Noise over the whole range of the type."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def stain(seed=0, shape=(96, 128), top=230):
    """Smooth blobs, as a stain looks; JPEG is made for these."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return (np.clip((noise - noise.mean()) / noise.max(), 0, 1) * top).astype(np.uint8)


def test_lossless_grey_formats_give_the_pixels_back(tmp_path):
    for dtype in (np.uint8, np.uint16):
        image = picture(dtype=dtype)
        Image.fromarray(image).save(tmp_path / "a.png")
        tifffile.imwrite(tmp_path / "a.tif", image)
        tifffile.imwrite(tmp_path / "a.ome.tif", image, metadata={"axes": "YX"}, compression="zlib", tile=(16, 16))
        tifffile.imwrite(tmp_path / "big.tif", image, bigtiff=True, byteorder=">")
        for name in ("a.png", "a.tif", "a.ome.tif", "big.tif"):
            read = read_plane(tmp_path / name)
            assert read.dtype == dtype
            np.testing.assert_array_equal(read, image)


def test_the_content_decides_and_not_the_name(tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.tif", format="PNG")
    np.testing.assert_array_equal(read_plane(tmp_path / "a.tif"), picture())


@pytest.mark.parametrize("hue", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)])
def test_pictures_of_one_hue_give_their_grey_values(tmp_path, hue):
    image = stain()
    rgb = (image[..., None] * np.array(hue)).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_plane(tmp_path / "a.png"), image)
    Image.fromarray(rgb).save(tmp_path / "a.jpg", quality=85, subsampling=2)
    read = read_plane(tmp_path / "a.jpg").astype(int)
    assert np.abs(read - image).mean() < 4


def test_several_hues_are_refused_with_what_to_do(tmp_path):
    composite = np.stack([stain(1), stain(2), stain(3)], axis=-1)
    Image.fromarray(composite).save(tmp_path / "a.png")
    Image.fromarray(composite).save(tmp_path / "a.jpg", quality=85)
    for name in ("a.png", "a.jpg"):
        with pytest.raises(ImageError, match=r"several hues.*#c="):
            read_plane(tmp_path / name)
    np.testing.assert_array_equal(read_plane(tmp_path / "a.png", "c=2"), stain(3))
    with pytest.raises(ImageError, match="0 to 2"):
        read_plane(tmp_path / "a.png", "c=3")


def test_sixteen_bit_colour_keeps_its_depth(tmp_path):
    image = picture(dtype=np.uint16)
    rgb = np.zeros((*image.shape, 3), np.uint16)
    rgb[..., 1] = image
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb")
    tifffile.imwrite(tmp_path / "planar.tif", np.moveaxis(rgb, -1, 0), photometric="rgb", planarconfig="separate")
    import imagecodecs

    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(rgb))
    for name in ("a.tif", "planar.tif", "a.png"):
        np.testing.assert_array_equal(read_plane(tmp_path / name), image)
        np.testing.assert_array_equal(read_plane(tmp_path / name, "c=1"), image)


def test_alpha_is_dropped_when_constant_and_a_sample_when_not(tmp_path):
    image = stain()
    rgba = np.dstack([image, image, image, np.full_like(image, 255)])
    Image.fromarray(rgba).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_plane(tmp_path / "opaque.png"), image)
    rgba[..., 3] = stain(5)
    Image.fromarray(rgba).save(tmp_path / "crop.png")
    with pytest.raises(ImageError, match=r"alpha, varies.*#c=3"):
        read_plane(tmp_path / "crop.png")
    np.testing.assert_array_equal(read_plane(tmp_path / "crop.png", "c=3"), stain(5))


def test_palettes_and_bilevel_pictures(tmp_path):
    image = stain() // 16 * 16
    Image.fromarray(image).convert("P").save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_plane(tmp_path / "palette.png"), image)
    Image.fromarray(image > 100).save(tmp_path / "bits.png")
    tifffile.imwrite(tmp_path / "bits.tif", image > 100)
    for name in ("bits.png", "bits.tif"):
        np.testing.assert_array_equal(read_plane(tmp_path / name), (image > 100) * np.uint8(255))


def test_planes_of_an_ome_tiff(tmp_path):
    stack = picture(shape=(2, 3, 4, 32, 24), dtype=np.uint16)  # T, C, Z, Y, X
    for order in ("TCZYX", "CZTYX", "ZTCYX"):
        moved = np.transpose(stack, ["TCZYX".index(axis) for axis in order])
        tifffile.imwrite(tmp_path / "a.ome.tif", moved, metadata={"axes": order})
        np.testing.assert_array_equal(read_plane(tmp_path / "a.ome.tif", "c=2,z=3,t=1"), stack[1, 2, 3])
        np.testing.assert_array_equal(read_plane(tmp_path / "a.ome.tif", "t=0,z=max,c=0"), stack[0, 0].max(axis=0))
    with pytest.raises(ImageError, match=r"3 channels.*#c=0 to #c=2"):
        read_plane(tmp_path / "a.ome.tif", "z=0,t=0")
    with pytest.raises(ImageError, match=r"4 depths.*best_focus"):
        read_plane(tmp_path / "a.ome.tif", "c=0,t=0")
    with pytest.raises(ImageError, match="c=3 is outside the file, which has 0 to 2"):
        read_plane(tmp_path / "a.ome.tif", "c=3,z=0,t=0")


def test_best_focus_is_the_sharpest_depth(tmp_path):
    sharp = picture(dtype=np.uint16).astype(float)
    stack = np.stack([gaussian_filter(sharp, sigma) for sigma in (3, 1.5, 0, 2)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(read_plane(tmp_path / "a.ome.tif", "z=best_focus"), stack[2])


def test_pages_without_names_are_what_they_are_asked_for_as(tmp_path):
    stack = picture(shape=(5, 20, 30))
    tifffile.imwrite(tmp_path / "pages.tif", stack, metadata=None, photometric="minisblack")
    tifffile.imwrite(tmp_path / "imagej.tif", stack[:, None].astype(np.uint16), imagej=True, metadata={"axes": "ZCYX"})
    np.testing.assert_array_equal(read_plane(tmp_path / "pages.tif", "c=4"), stack[4])
    np.testing.assert_array_equal(read_plane(tmp_path / "pages.tif", "z=max"), stack.max(axis=0))
    np.testing.assert_array_equal(read_plane(tmp_path / "imagej.tif", "z=3"), stack[3])
    with pytest.raises(ImageError, match="5 pages"):
        read_plane(tmp_path / "pages.tif")
    with pytest.raises(ImageError, match="outside the file"):
        read_plane(tmp_path / "imagej.tif", "z=3,t=1")


def test_a_file_of_a_set_of_ome_tiffs_gives_its_own_plane_and_never_blank_ones(tmp_path):
    image = picture(dtype=np.uint16)
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYCZT" Type="uint16" SizeX="56" SizeY="40" SizeC="2" SizeZ="1" SizeT="1">'
        '<TiffData FirstC="0" IFD="0" PlaneCount="1"><UUID FileName="first.ome.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData FirstC="1" IFD="0" PlaneCount="1"><UUID FileName="second.ome.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "first.ome.tif", image, description=xml, metadata=None)
    np.testing.assert_array_equal(read_plane(tmp_path / "first.ome.tif"), image)


def test_floats_and_wide_integers(tmp_path):
    values = np.linspace(0, 1, 20 * 20).reshape(20, 20)
    for image, expected in (
        (values.astype(np.float32), np.round(values * 65535)),
        ((values * 1000).astype(np.float64), np.round(values * 1000)),
        ((values * 60000).astype(np.int32), (values * 60000).astype(int)),
    ):
        tifffile.imwrite(tmp_path / "a.tif", image)
        read = read_plane(tmp_path / "a.tif")
        assert read.dtype == np.uint16
        np.testing.assert_allclose(read, expected, atol=1)
    for wrong, message in ((np.nan, "NaN"), (np.inf, "NaN"), (-1.0, "from -1"), (1e6, "expected 0 to 65535")):
        image = values.astype(np.float32)
        image[3, 4] = wrong
        tifffile.imwrite(tmp_path / "a.tif", image)
        with pytest.raises(ImageError, match=message):
            read_plane(tmp_path / "a.tif")


def test_sizes_are_refused_from_the_header_alone(tmp_path):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"not pixels"))
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "a.jpg")
    jpeg = bytearray((tmp_path / "a.jpg").read_bytes())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 30000, 30000)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    tiles = (b"not pixels" for _ in range(900))
    tifffile.imwrite(
        tmp_path / "a.tif", tiles, shape=(30000, 30000), dtype=np.uint8, tile=(1024, 1024), compression="zlib"
    )
    for name in ("a.png", "a.jpg", "a.tif"):
        with pytest.raises(ImageError, match="30000 x 30000 pixels are more than the 268,435,456 allowed"):
            read_plane(tmp_path / name)


def test_a_picture_of_one_pixel_is_refused(tmp_path):
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((1, 1), np.uint8))
    for name in ("a.png", "a.tif"):
        with pytest.raises(ImageError, match="1 x 1 pixels are too few"):
            read_plane(tmp_path / name)


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "tiled.tif"])
def test_truncated_files_are_refused(tmp_path, name, share):
    path = tmp_path / name
    if name.endswith("tif"):
        tile = (32, 32) if name == "tiled.tif" else None
        tifffile.imwrite(path, picture(shape=(128, 128)), tile=tile, compression="zlib" if tile else None)
    else:
        Image.fromarray(picture(shape=(128, 128))).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=name):
        read_plane(path)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["png", "jpeg", "tiff"]), places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255))))
def test_damaged_bytes_give_an_image_or_an_image_error(tmp_path_factory, kind, places):
    path = tmp_path_factory.mktemp("damaged") / "a"
    if kind == "tiff":
        tifffile.imwrite(path, picture(), compression="zlib")
    else:
        Image.fromarray(picture()).save(path, format=kind)
    data = bytearray(path.read_bytes())
    for place, value in places:
        data[int(place * (len(data) - 1))] = value
    path.write_bytes(data)
    try:
        image = read_plane(path)
    except ImageError:
        return
    assert image.ndim == 2
    assert image.dtype in (np.uint8, np.uint16)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_text("<html>not found</html>")
    for path, message in (
        (tmp_path / "a.png", "neither PNG"),
        (tmp_path / "b.png", "cannot open"),
        (tmp_path, "cannot open"),
    ):
        with pytest.raises(ImageError, match=message):
            read_plane(path)


@given(
    c=st.none() | st.integers(0, 10**6),
    z=st.none() | st.integers(0, 10**6) | st.sampled_from(["max", "best_focus"]),
    t=st.none() | st.integers(0, 10**6),
    path=st.text(min_size=1).filter(lambda text: "#" not in text),
)
def test_a_written_plane_is_read_back(c, z, t, path):
    plane = ",".join(f"{name}={value}" for name, value in (("z", z), ("c", c), ("t", t)) if value is not None)
    assert parse_plane(plane) == Plane(c=c, z=z, t=t)
    assert split_plane(f"{path}#{plane}" if plane else path) == (path, plane)


@given(st.text())
def test_any_text_is_a_plane_or_an_image_error(text):
    try:
        plane = parse_plane(text)
    except ImageError:
        return
    assert isinstance(plane, Plane)


@pytest.mark.parametrize("text", ["c=-1", "c=max", "s=2", "c=1,c=2", "z=best", "c=", "c=²"])
def test_planes_that_mean_nothing_are_refused(text):
    with pytest.raises(ImageError, match="plane"):
        parse_plane(text)


def test_a_hash_in_a_file_name_is_no_plane():
    assert split_plane("slide #3.tif") == ("slide #3.tif", "")
    assert split_plane("a#1/b.tif#z=max") == ("a#1/b.tif", "z=max")


def images_dir(folder, files):
    """Folder of images of field "f" with its ledger, from {channel: array}."""
    rows = []
    for channel, image in files.items():
        tifffile.imwrite(folder / f"{channel}.tif", image)
        rows.append({"field_id": "f", "channel": channel, "file": f"{channel}.tif", "status": "ok"})
    write_ledger(folder, ledger_table(rows))
    return read_ledger(folder)


def test_a_field_in_order_with_zeros_for_what_is_missing(tmp_path):
    files = {"nucleus": picture(1), "protein": picture(2)}
    ledger = images_dir(tmp_path, files)
    image, present = read_field(tmp_path, ledger, "f")
    assert present == ("nucleus", "protein")
    assert image.dtype == np.uint8
    assert not image[:2].any()
    np.testing.assert_array_equal(image[2:], [files["nucleus"], files["protein"]])
    image, present = read_field(tmp_path, ledger, "f", ("protein", "er"))
    np.testing.assert_array_equal(image, [files["protein"], np.zeros_like(files["protein"])])


def test_mixed_depths_keep_full_scale(tmp_path):
    ledger = images_dir(tmp_path, {"nucleus": picture(1), "er": picture(2, dtype=np.uint16)})
    image, _ = read_field(tmp_path, ledger, "f")
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[CHANNELS.index("nucleus")], picture(1).astype(int) * 257)
    np.testing.assert_array_equal(image[CHANNELS.index("er")], picture(2, dtype=np.uint16))


def test_fields_that_cannot_be_used(tmp_path):
    ledger = images_dir(tmp_path, {"nucleus": picture(shape=(40, 56)), "er": picture(shape=(40, 55))})
    with pytest.raises(ImageError, match=r"field f: channels differ in size \(er 40 x 55, nucleus 40 x 56"):
        read_field(tmp_path, ledger, "f")
    with pytest.raises(ImageError, match="none of the channels"):
        read_field(tmp_path, ledger, "other")
    with pytest.raises(ImageError, match="none of the channels"):
        read_field(tmp_path, ledger.assign(status="set aside"), "f")


def test_constant_channels_are_read(tmp_path):
    ledger = images_dir(tmp_path, {"nucleus": np.full((20, 20), 7, np.uint8)})
    image, _ = read_field(tmp_path, ledger, "f")
    assert (image[CHANNELS.index("nucleus")] == 7).all()


def test_labels_are_numbers_and_not_brightness(tmp_path):
    labels = np.zeros((30, 30), np.int32)
    labels[2:9, 3:9] = 1
    labels[15:20, 3:9] = 70000
    ledger = images_dir(tmp_path, {"reference_cells": labels, "reference_nuclei": labels.astype(np.float32)})
    for channel in ("reference_cells", "reference_nuclei"):
        read = read_labels(tmp_path, ledger, "f", channel)
        assert read.dtype == np.int32
        np.testing.assert_array_equal(read, labels)
    assert read_labels(tmp_path, ledger, "other", "reference_cells") is None


@pytest.mark.parametrize("value", [-1.0, 0.5, np.nan])
def test_labels_that_are_none(tmp_path, value):
    ledger = images_dir(tmp_path, {"reference_cells": np.full((20, 20), value, np.float32)})
    with pytest.raises(ImageError, match="label"):
        read_labels(tmp_path, ledger, "f", "reference_cells")


def test_a_ledger_survives_writing(tmp_path):
    rows = [{"field_id": '<b>"ä\t', "channel": "er", "file": "x.png", "url": "a,b\nc", "status": "ok"}]
    ledger = ledger_table(rows)
    write_ledger(tmp_path, ledger)
    assert read_ledger(tmp_path).equals(ledger)
    write_ledger(tmp_path, ledger_table())
    assert read_ledger(tmp_path).empty
    (tmp_path / "ledger.tsv").write_text("field_id\nx\n")
    with pytest.raises(ImageError, match="lacks the columns"):
        read_ledger(tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("bytes", "12x"), ("tries", ""), ("modified_ns", "-1"), ("sha256", "ab"), ("status", "o"), ("file", "")],
)
def test_a_damaged_ledger_is_named_with_its_row_and_what_to_do(tmp_path, column, value):
    write_ledger(tmp_path, ledger_table([{"field_id": "f", "channel": "er", "file": "x.png", "status": "ok"}] * 2))
    table = pd.read_csv(tmp_path / "ledger.tsv", sep="\t", dtype=str, keep_default_na=False)
    table.loc[1, column] = value
    table.to_csv(tmp_path / "ledger.tsv", sep="\t", index=False)
    with pytest.raises(ImageError, match=rf"ledger.tsv: damaged .* 3.*; delete {tmp_path} and run again"):
        read_ledger(tmp_path)


def write_chain(path, pages, last=0):
    """A TIFF of pages of 16 x 16 pixels that share their pixels; the last page leads to `last`."""
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 16, 279: 256}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    size = 2 + len(entries) + 4
    starts = [8 + 256 + size * number for number in range(pages)]
    chain = zip(starts, [*starts[1:], last], strict=True)
    body = b"".join(struct.pack("<H", len(tags)) + entries + struct.pack("<I", then) for _, then in chain)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, starts[0]) + bytes(range(256)) + body)
    return starts


def test_pages_that_repeat_without_end_and_too_many_pages_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    starts = write_chain(path, 3)
    assert read_plane(path, "c=1")[0, 5] == 5
    for last in starts:
        write_chain(path, 3, last)
        with pytest.raises(ImageError, match=r"a\.tif: its pages repeat without end"):
            read_plane(path, "c=1")
    write_chain(path, 10_001)
    with pytest.raises(ImageError, match="more than 10,000 pages"):
        read_plane(path, "c=1")


def test_planes_that_a_header_claims_and_the_file_has_not_cost_nothing(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, picture(), metadata={"axes": "YX"}, ome=True)
    tifffile.tiffcomment(path, tifffile.tiffcomment(path).replace('SizeT="1"', 'SizeT="100000000"').encode())
    start = time.process_time()
    with pytest.raises(ImageError, match="claims 100,000,000 planes"):
        read_plane(path, "t=0")
    assert time.process_time() - start < 2


@pytest.mark.parametrize("name", ["hang.tif", "claims_1e8_times.ome.tif"])
def test_damaged_tiffs_that_were_met(name):
    folder = (
        Path(os.environ.get("SUBCELL_SHARED", Path(__file__).parents[3] / "shared")) / "data/odd_files/damaged_tiff"
    )
    if not folder.is_dir():
        pytest.skip("SUBCELL_SHARED names no folder with data/odd_files")
    start = time.process_time()
    with pytest.raises(ImageError, match=name):
        read_plane(folder / name, "t=0")
    assert time.process_time() - start < 2
