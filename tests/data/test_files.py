"""Images and text as cameras and tools write them: right, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from fnac.data.class_files import read_classes, read_colours
from fnac.data.files import ImageFacts, image_size, read_image, read_text, verify_image
from fnac.data.folders import image_named, list_by_stem
from fnac.data.sets.labels import ColourTable, plain_labels
from fnac.data.sets.masks import Pair, look_at_pair, read_mask
from fnac.data.spec import open_data
from fnac.errors import DataError, UsageError

RAMP = np.linspace(0, 255, 40).round().astype(np.uint8)[None].repeat(24, 0)


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_read_as_a_viewer_shows_it(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    more = {"lossless": True} if suffix == ".webp" else {"quality": 95} if suffix == ".jpg" else {}
    Image.fromarray(picture()).save(path, exif=exif, **more)
    with Image.open(path) as file:
        shown = np.array(ImageOps.exif_transpose(file).convert("RGB"))
    assert shown.shape == ((40, 24, 3) if orientation > 4 else (24, 40, 3))
    assert np.array_equal(read_image(path), shown)
    facts = verify_image(path)
    assert (facts.height, facts.width) == shown.shape[:2] == image_size(path)
    if suffix != ".tif":
        assert facts == ImageFacts(shown.shape[1], shown.shape[0], orientation != 1)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(path.with_suffix(".png"))


def sixteen_bits_tiff(path: Path) -> None:
    Image.fromarray((RAMP.astype(np.uint16) * 257).astype(">u2")).save(path.with_suffix(".tif"))


def sixteen_bits_pgm(path: Path) -> None:
    body = (RAMP.astype(np.uint16) * 257).astype(">u2").tobytes()
    path.with_suffix(".pgm").write_bytes(b"P5 40 24 65535\n" + body)


def unit_floats(path: Path) -> None:
    Image.fromarray((RAMP / 255).astype(np.float32)).save(path.with_suffix(".tif"))


def palette(path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    image.putpalette([value for grey in range(256) for value in (grey, grey, grey)])
    image.save(path.with_suffix(".png"))


def with_alpha(path: Path) -> None:
    alpha = np.full_like(RAMP, 255)
    Image.fromarray(np.dstack([RAMP, RAMP, RAMP, alpha])).save(path.with_suffix(".png"))


def grey_alpha(path: Path) -> None:
    Image.fromarray(np.dstack([RAMP, np.full_like(RAMP, 255)])).save(path.with_suffix(".png"))


def cmyk(path: Path) -> None:
    Image.fromarray(RAMP).convert("RGB").convert("CMYK").save(path.with_suffix(".tif"))


def smaller_version_behind(path: Path) -> None:
    small = Image.fromarray(RAMP[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(RAMP).save(path.with_suffix(".tif"), save_all=True, append_images=[small])


@pytest.mark.parametrize(
    "write",
    [sixteen_bits, sixteen_bits_tiff, sixteen_bits_pgm, unit_floats, palette, with_alpha,
     grey_alpha, cmyk],
)  # fmt: skip
def test_greys_keep_their_values(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "ramp")
    (path,) = tmp_path.iterdir()
    verify_image(path)
    assert np.array_equal(read_image(path), np.dstack([RAMP] * 3))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path: Path, bits: int) -> None:
    """Scanners write such files; what is read does not depend on their depth."""
    value = 200 if bits == 8 else 200 * 257
    Image.new("L" if bits == 8 else "I;16", (8, 8), value).save(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    entry = content.index((262).to_bytes(2, "little") + b"\x03\x00\x01\x00\x00\x00\x01\x00")
    content[entry + 8] = 0  # PhotometricInterpretation: WhiteIsZero
    (tmp_path / "a.tif").write_bytes(content)
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [255 - 200] * 3


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("a.tif", RAMP.astype(np.int32) * 257, "grey of 32 bits (or signed)"),
        ("a.tif", RAMP.astype(np.float32), "float grey from 0 to 255; wanted 0..1"),
        ("a.tif", np.full((3, 4), np.nan, np.float32), "float grey from nan to nan"),
    ],
)
def test_greys_without_an_agreed_white_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    Image.fromarray(array).save(tmp_path / name)
    for look in (read_image, verify_image):
        with pytest.raises(DataError) as caught:
            look(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {message}")


def test_several_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture()) for _ in range(3)]
    for name, words in (
        ("a.gif", "frames (it is animated)"), ("a.tif", "pages"),
        ("a.png", "frames (it is animated)"), ("a.webp", "frames (it is animated)"),
    ):  # fmt: skip
        changed = [Image.fromarray(np.roll(np.asarray(f), 5 * i, 0)) for i, f in enumerate(frames)]
        changed[0].save(tmp_path / name, save_all=True, append_images=changed[1:])
        for look in (read_image, verify_image):
            with pytest.raises(DataError) as caught:
                look(tmp_path / name)
            assert f"{name}: 3 {words}; wanted one image per file" in str(caught.value)


def test_a_page_with_its_own_thumbnail_is_one_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    smaller_version_behind(path)
    with Image.open(path) as file:
        assert file.n_frames == 2
    assert read_image(path).shape == (24, 40, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "not an image of a known"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a known format"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"", "empty file"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for look in (read_image, verify_image):
        with pytest.raises(DataError, match=reason):
            look(tmp_path / "a.png")


def test_annotations_that_git_lfs_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DataError, match="a Git LFS pointer; wanted a list; run git lfs pull"):
        read_text(tmp_path / "a.json", "a list")


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(DataError, match="no such file"):
            verify_image(tmp_path / name)
        assert image_named(tmp_path, name) == tmp_path / name


# ------------------------------------------------------------------------------------ masks

IDS = np.zeros((24, 40), np.uint8)
IDS[4:9, 6:20] = 1
IDS[12:, 30:] = 2


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("a.png", Image.fromarray(IDS)),
        ("a.png", Image.fromarray(IDS).convert("LA")),
        ("a.png", Image.fromarray(IDS).convert("RGB")),
        ("a.png", Image.fromarray(IDS).convert("RGBA")),
        ("a.tif", Image.fromarray(IDS.astype(np.float32))),
        ("a.png", Image.fromarray(IDS.astype(np.uint16))),
        ("a.tif", Image.fromarray(IDS.astype(np.int32))),
        ("a.bmp", Image.fromarray(IDS)),
    ],
)
def test_masks_in_every_coding_give_their_ids(
    tmp_path: Path, name: str, image: Image.Image
) -> None:
    image.save(tmp_path / name)
    found = read_mask(tmp_path / name)
    assert np.issubdtype(found.dtype, np.integer)
    assert np.array_equal(found, IDS)


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("a.jpg", Image.fromarray(IDS), "a mask coded as JPEG, which changes label ids"),
        ("a.png", Image.fromarray(IDS).convert("RGB").convert("RGBA", None), None),
        ("a.tif", Image.fromarray(IDS / np.float32(3)), "a mask of float numbers, not all whole"),
        ("a.png", Image.fromarray(np.dstack([IDS, IDS])), "a mask with transparent pixels"),
        ("a.png", Image.fromarray(picture()), "colour mask (mode RGB), "),
    ],
)
def test_masks_that_hold_no_ids_say_why(
    tmp_path: Path, name: str, image: Image.Image, message: str | None
) -> None:
    image.save(tmp_path / name)
    if message is None:
        assert np.array_equal(read_mask(tmp_path / name), IDS)
        return
    with pytest.raises(DataError) as caught:
        read_mask(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")


@pytest.mark.parametrize(
    ("name", "options", "coding"),
    [
        ("a.webp", {"quality": 90}, "lossy WebP"),
        ("a.tif", {"compression": "jpeg"}, "TIFF with JPEG compression"),
        ("a.webp", {"lossless": True}, None),
        ("a.tif", {"compression": "tiff_lzw"}, None),
    ],
)
def test_masks_that_lossy_codings_changed_are_refused(
    tmp_path: Path, name: str, options: dict[str, Any], coding: str | None
) -> None:
    Image.fromarray(IDS).save(tmp_path / name, **options)
    if coding is None:
        assert np.array_equal(read_mask(tmp_path / name), IDS)
        return
    with pytest.raises(DataError, match=f"a mask coded as {coding}, which changes label ids"):
        read_mask(tmp_path / name)


COLOURS = np.array([(0, 0, 0), (200, 10, 10), (0, 128, 255)], np.uint8)


def coloured(
    root: Path, colours: str, name: str = "colours.txt", classes: str | None = None
) -> str:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        Image.fromarray(picture()).save(root / "images" / split / "a.png")
        Image.fromarray(COLOURS[IDS]).save(root / "masks" / split / "a.png")
    (root / name).write_text(colours)
    if classes is not None:
        (root / "classes.txt").write_text(classes)
    return f"folder:{root}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("colours.txt", "0 0 0 ground\n200 10 10 roof\n0 128 255 sea\n"),
        ("colours.txt", "# colours\n#000000 ground\n#c80a0a roof\n#0080ff sea\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nground:0,0,0::\nroof:200,10,10::\n"
                         "sea:0,128,255::\n"),
        ("class_dict.csv", "name,r,g,b\nground,0,0,0\nroof,200,10,10\nsea,0,128,255\n"),
        ("label_colors.txt", "0 0 0\t\tground\r\n200 10 10\t\troof\r\n0 128 255\t\tsea\r\n"),
    ],
)  # fmt: skip
def test_masks_by_colour(tmp_path: Path, name: str, text: str) -> None:
    source = open_data(coloured(tmp_path, text, name))
    source.check()
    assert source.classes == ["ground", "roof", "sea"]
    assert np.array_equal(source.split("train")[0][1].numpy(), IDS)


def test_colours_in_the_order_of_classes_and_void(tmp_path: Path) -> None:
    text = "0 0 0 void\n200 10 10 roof\n0 128 255 sea\n"
    source = open_data(coloured(tmp_path, text, classes="sea\nroof\n"))
    source.check()
    wanted = np.array([255, 1, 0])[IDS]
    assert np.array_equal(source.split("val")[0][1].numpy(), wanted)
    (tmp_path / "classes.txt").unlink()
    assert open_data(f"folder:{tmp_path}").classes == ["roof", "sea"]


def test_a_colour_of_no_class_is_named(tmp_path: Path) -> None:
    spec = coloured(tmp_path, "0 0 0 ground\n200 10 10 roof\n")
    with pytest.raises(DataError) as caught:
        open_data(spec).check(["train"])
    assert str(caught.value) == (
        f"{tmp_path}/masks/train/a.png: colour 0 128 255; wanted one of colours.txt; correct the "
        "mask, or add the colour"
    )
    (tmp_path / "classes.txt").write_text("ground\nroof\nsea\n")
    with pytest.raises(DataError, match="no colour of class 'sea'; add it"):
        open_data(spec)


def test_ids_of_a_binary_mask_are_given_their_class(tmp_path: Path) -> None:
    for kind, array in (("images", picture()), ("masks", 255 * (IDS > 0).astype(np.uint8))):
        (tmp_path / kind).mkdir()
        for name in ("a", "b"):
            Image.fromarray(array).save(tmp_path / kind / f"{name}.png")
    (tmp_path / "classes.txt").write_text("ground\nthing\n")
    yaml = tmp_path / "data.yaml"
    yaml.write_text("reader: folder\npath: .\nids: {255: thing}\n")
    source = open_data(str(yaml))
    source.check()
    assert np.array_equal(source.split("train")[0][1].numpy(), (IDS > 0).astype(np.uint8))
    yaml.write_text("reader: folder\npath: .\nids: {255: things}\n")
    with pytest.raises(DataError, match="'things' is not a class; wanted one of ground, thing"):
        open_data(str(yaml))
    yaml.write_text("reader: folder\npath: .\nids: {300: thing}\n")
    with pytest.raises(UsageError, match="wanted 'ID: CLASS NAME' lines"):
        open_data(str(yaml))


def test_a_mask_of_a_turned_image_lies_as_the_viewer_shows_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(np.zeros((40, 24), np.uint8)).save(tmp_path / "a.png")
    assert (
        look_at_pair(Pair(tmp_path / "a.jpg", tmp_path / "a.png", plain_labels(2))).problem is None
    )
    Image.fromarray(np.zeros((24, 40), np.uint8)).save(tmp_path / "b.png")
    problem = look_at_pair(Pair(tmp_path / "a.jpg", tmp_path / "b.png", plain_labels(2))).problem
    assert problem is not None
    assert "wanted 24x40 as a.jpg (turned as its EXIF orientation says)" in problem


def test_unknown_colours_are_ignored_only_where_they_are_not_checked() -> None:
    table = ColourTable({0: 0, 0xFF0000: 1}, "colours.txt")
    assert table.apply(np.array([[0, 0xFF0000, 5]])).tolist() == [[0, 1, 255]]


# ------------------------------------------------------------------------------------ text


def test_text_of_windows_and_macs(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    for content in (
        "Straße\nÉglise\n".encode(),
        "Straße\r\nÉglise\r\n".encode("utf-8-sig"),
        "Straße\rÉglise\r".encode(),
        "Straße\r\nÉglise".encode("utf-16"),
    ):
        path.write_bytes(content)
        assert read_classes(path) == ["Straße", "Église"]
    path.write_bytes("Straße\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"byte 4 is not UTF-8\); wanted .*; save it as UTF-8"):
        read_text(path, "words")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0 road\n1 sky\n", ["road", "sky"]),
        ("1: road\n2: sky\n", ["road", "sky"]),
        ("road, sky,car\n", ["road", "sky", "car"]),
        ('"road"\n"sky"\n', ["road", "sky"]),
        ("road,\nsky,\n", ["road", "sky"]),
        ("2 wheels\n4 wheels\n", ["2 wheels", "4 wheels"]),
        ("road  # grey\n\nsky\n", ["road", "sky"]),
    ],
)
def test_class_names_as_they_are_written(tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_classes(tmp_path / "classes.txt") == names


def test_wrong_lines_of_colours(tmp_path: Path) -> None:
    path = tmp_path / "colours.txt"
    for text, message in (
        ("0 0 0 a\n300 0 0 b\n", "line 2: '300 0 0 b'; wanted R G B NAME, each 0..255"),
        ("0 0 0 a\n0 0 0 b\n", "line 2: a second class of colour"),
        ("0 0 0 a\n1 1 1 a\n", "'a' is listed twice, with two colours"),
        ("", "no colours"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message.replace("(", r"\(")):
            read_colours(path)


def test_accents_in_two_codings_are_one_name(tmp_path: Path) -> None:
    (tmp_path / "e\u0301t\u00e9.png").write_bytes(b"")
    assert list(list_by_stem(tmp_path)) == ["\u00e9t\u00e9"]


def test_images_of_other_formats_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.heic", "b.heic", "c.CR2", "d.png", "notes.txt", ".hidden.heic"):
        (tmp_path / name).write_bytes(b"")
    assert list(list_by_stem(tmp_path)) == ["d"]
    assert "files that are not read as images: 2 .heic, 1 .cr2; read are .jpg" in caplog.text
