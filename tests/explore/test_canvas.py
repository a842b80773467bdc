"""Pictures made of pixels: the colours, marks and outlines that stand in them, as bytes, as stills and in the browser."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from semicon_nb.explore.canvas import MINUS, PLUS, beside, mixed, still, swatches
from semicon_nb.explore.page import asset
from semicon_nb.show import PALETTE, edges, rgb

LOOKS = swatches(*PALETTE[:3])


def a_map() -> np.ndarray:
    labels = np.zeros((8, 10), np.uint8)
    labels[2:6, 2:5], labels[2:6, 5:8] = 1, 2
    return labels


def test_a_share_of_nothing_keeps_the_grey_and_of_all_the_colour():
    grey = np.array([[0.0, 0.5, 1.0]])
    assert mixed(grey, LOOKS[[[1, 1, 1]]], 0)[0, :, 0].tolist() == [0, 128, 255]
    assert (mixed(grey, LOOKS[[[1, 1, 1]]], 1) == rgb(PALETTE[1])).all()
    assert (mixed(grey, LOOKS[[[1, 1, 1]]], np.array([[0, 1, 0]]))[0, 1] == rgb(PALETTE[1])).all()


def test_a_still_outlines_each_structure_in_its_own_colour():
    labels, marks = a_map(), np.zeros((8, 10), np.uint8)
    marks[0, 0], marks[0, 9] = PLUS, MINUS
    source = still(np.full((8, 10, 3), 40, np.uint8), marks, labels, LOOKS)
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB"))
    big = np.kron(labels, np.ones((4, 4), np.uint8))
    for k in (1, 2):
        assert np.abs(picture[edges(big) & (big == k)].astype(int) - rgb(PALETTE[k])).max() <= 8
    assert (picture[12, 13] == 40).all()
    plus, minus = ((picture[:4, columns, 0] > 60).sum() for columns in (slice(0, 4), slice(36, 40)))
    assert plus > minus > 0
    assert len(beside([source] * 3, ["a", "b", "c"], (1, 2)).data) == 6


OUTLINES = """([labels, colours]) => {
  const place = document.body.appendChild(document.createElement('div'));
  place.style.width = '400px';
  const { draw, canvas } = pixelCanvas(place, null);
  draw({ height: 8, width: 10, rgb: new Uint8Array(240).fill(90), labels, colours });
  const bytes = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data, seen = {};
  for (let i = 0; i < bytes.length; i += 4) { const key = bytes.slice(i, i + 3).join(); seen[key] = (seen[key] || 0) + 1; }
  return seen;
}"""


@pytest.mark.browser
def test_outlines_are_white_or_in_the_colours_that_are_given(browser):
    page = browser.new_page()
    page.add_script_tag(content=asset("canvas.js"))
    labels = a_map().ravel().tolist()
    plain, coloured = (page.evaluate(OUTLINES, [labels, colours]) for colours in (None, list(PALETTE[:3])))
    names = [",".join(map(str, rgb(colour))) for colour in PALETTE[:3]]
    assert plain["255,255,255"] > 100 and names[1] not in plain
    assert "255,255,255" not in coloured and coloured[names[1]] > 50 < coloured[names[2]] and names[0] not in coloured
    page.close()
