"""Sheets of pictures: what stands above a picture can be read, and is not cut off."""

from PIL import Image

from semicon_nb.show import sheet


def inked(title: str, width: int) -> int:
    """The last column of the title's ink, where a picture is so wide."""
    page = sheet([Image.new("RGB", (width, 8))] * 2, columns=2, titles=[title, ""]).convert("L").crop((0, 0, 2 * width, 24))
    return page.point(lambda level: 255 * (level < 128)).getbbox()[2]


def test_a_title_is_as_large_as_its_picture_has_room_for():
    wide, narrow = inked("cohort's maximum", 200), inked("cohort's maximum", 90)
    assert wide > 95, "about 13 pixels high where there is room"
    assert narrow <= 96 < wide, "smaller where it would run into the next picture"
