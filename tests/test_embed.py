"""Maps and numbers of trust against slow and independent ways to get them."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from sklearn.neighbors import NearestNeighbors
from torch import nn

from semicon_nb.embed import (
    UmapSettings,
    aligned,
    as_slices,
    class_look,
    map_figure,
    neighbours,
    pca,
    pixel_embeddings,
    sample_pixels,
    shares,
    umap_map,
)
from semicon_nb.show import PALETTE, SYMBOLS
from semicon_nb.trust import alignment, neighbour_agreement, trust, trustworthiness, uniformity
from semicon_nb.unet import UNet

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def clouds() -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of unit vectors in 16 dimensions and their labels."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    vectors = random.normal(size=(300, 16)) + 4 * np.eye(16)[labels]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


@pytest.mark.parametrize("shape, stack", [((5, 7), (1, 5, 7)), ((2, 5, 7), (2, 5, 7)), ((2, 1, 5, 7), (2, 5, 7))])
def test_images_of_any_accepted_shape_become_a_stack(shape, stack):
    assert as_slices(np.zeros(shape)).shape == as_slices(torch.zeros(shape)).shape == stack


@pytest.mark.parametrize(
    "images, says",
    [(np.zeros((2, 3, 5, 5)), "several"), (np.zeros(5), "slice"), (np.full((4, 4), np.nan), "NaN"), (np.zeros((0, 4, 4)), "no pixel")],
)
def test_images_that_are_no_slices_are_refused(images, says):
    with pytest.raises(ValueError, match=says):
        as_slices(images)


def test_embeddings_are_unit_vectors_of_their_own_pixel():
    images = np.random.default_rng(0).random((3, 6, 5)).astype(np.float32)
    found = pixel_embeddings(lambda x: torch.cat([x, 1 - x], 1), images, batch=2)
    expected = np.stack([images, 1 - images], -1)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected, axis=-1, keepdims=True), rtol=1e-5)


def test_embedding_leaves_the_network_as_it_was():
    model = UNet(width=4, depth=2, pixel_dim=8).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    assert pixel_embeddings(model, np.zeros((1, 16, 16)), "head").shape == (1, 16, 16, 8)
    assert model.training and torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "model, says",
    [
        (nn.Conv2d(1, 4, 3), r"\[1, 4, 6, 6\] for images of 8 x 8"),
        (lambda x: x.mean((1, 2, 3)), "one vector for each pixel"),
        (lambda x: x * torch.nan, "NaN"),
        (lambda x: [x], "list"),
        (3, "expected a network"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model, says):
    with pytest.raises((ValueError, TypeError), match=says):
        pixel_embeddings(model, np.ones((8, 8)))


def test_shares_are_equal_where_classes_are_large_enough():
    assert shares([1000, 1000, 1000], 300) == [100, 100, 100]
    assert shares([1000, 20, 50], 300) == [230, 20, 50]
    assert sum(shares([3, 2], 100)) == 5


def test_samples_are_seeded_balanced_and_honest():
    labels = np.zeros((2, 20, 20), int)
    labels[:, :3] = 1
    first, again, other = (sample_pixels(labels.shape, 200, labels, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.index, again.index) and not np.array_equal(first.index, other.index)
    assert len(set(first.index)) == 200 and np.bincount(labels.reshape(-1)[first.index]).tolist() == [100, 100]
    assert first.sentence == "A sample is shown: 200 of 800 pixels, classes in shares as equal as they allow."
    assert sample_pixels(labels.shape, 10_000, labels).sentence == "All 800 pixels are shown."
    slices, rows, columns = first.places
    assert np.array_equal((slices * 20 + rows) * 20 + columns, first.index)


def test_pca_is_the_singular_value_decomposition_with_fixed_signs(clouds):
    vectors, _ = clouds
    made = pca(vectors)
    centred = vectors - vectors.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(made.places), np.abs(left[:, :2] * values[:2]), atol=1e-4)
    assert made.kept == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), rel=1e-5)
    order = np.random.default_rng(1).permutation(len(vectors))
    np.testing.assert_allclose(pca(vectors[order]).places, made.places[order], atol=1e-4)


def test_no_two_of_many_classes_look_alike():
    looks = [class_look(code) for code in range(57)]
    figure = map_figure({"map": np.eye(57, 2)}, np.arange(57), [f"class {code}" for code in range(57)])
    assert len(set(looks)) == 57 and [(trace.marker.color, trace.marker.symbol) for trace in figure.data] == looks
    assert looks[:8] == list(zip(PALETTE, SYMBOLS, strict=True)) and PALETTE[0] not in [colour for colour, _ in looks[1:]]


def test_names_reach_a_figure_as_text():
    figure = map_figure({"<b>map</b>": np.eye(4, 2)}, np.arange(4) % 2, ("back & ground", "<sub>a</sub>"))
    assert [trace.name for trace in figure.data] == ["back &amp; ground", "&lt;sub&gt;a&lt;/sub&gt;"]
    assert figure.layout.annotations[0].text == "&lt;b&gt;map&lt;/b&gt;"


def test_neighbours_are_exact(clouds):
    vectors, _ = clouds
    near, distance = neighbours(vectors, 5, block=64)
    square = ((vectors[:, None].astype(float) - vectors[None]) ** 2).sum(-1)
    np.fill_diagonal(square, np.inf)
    np.testing.assert_allclose(distance, np.sqrt(np.sort(square, axis=1)[:, :5]), atol=1e-3)
    assert not (near == np.arange(len(vectors))[:, None]).any()


@pytest.mark.parametrize(("apart", "middle", "spread"), [(0, 0, 1), (0, 1000, 1), (6, 3000, 1), (0, 1, 1e-5), (1, 0.5, 1e-5)])
def test_neighbours_are_those_of_scikit_learn_however_close_or_far_from_0(apart, middle, spread):
    """Of two groups, as the vectors are in float32, computed in double."""
    random = np.random.default_rng(0)
    vectors = (middle + apart * random.integers(0, 2, (400, 1)) + spread * random.normal(size=(400, 8))).astype(np.float32)
    near, distance = neighbours(vectors, 10, block=64)
    expected = NearestNeighbors(n_neighbors=10, algorithm="kd_tree").fit(vectors.astype(float)).kneighbors()[0]
    np.testing.assert_allclose(distance, expected, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors[near].astype(float) - vectors[:, None], axis=-1), expected, rtol=1e-5)


@pytest.mark.parametrize("vectors, says", [(np.zeros((2, 8)), "too few"), (np.full((9, 8), np.nan), "NaN"), (np.zeros(8), "expected")])
def test_vectors_that_make_no_map_are_refused(vectors, says):
    for make in (pca, umap_map):
        with pytest.raises(ValueError, match=says):
            make(vectors)


def test_umap_is_seeded_kept_by_content_and_tells_its_progress(clouds, tmp_path):
    vectors, labels = clouds
    heard = []
    settings = UmapSettings(epochs=50)
    first = umap_map(vectors, settings, lambda share, text: heard.append(share))
    assert heard == sorted(heard) and heard[-1] == 1 and len(heard) > 3
    (kept,) = (tmp_path / "cache" / "maps").glob("*.npy")
    heard.clear()
    again = umap_map(vectors, settings, lambda share, text: heard.append(share))
    assert heard == [1.0] and np.array_equal(first.places, again.places)
    kept.unlink()
    assert np.array_equal(umap_map(vectors, settings).places, first.places)
    assert neighbour_agreement(neighbours(first.places, 10)[0], labels) > 0.9
    kept.write_bytes(b"not an array")
    assert np.array_equal(umap_map(vectors, settings).places, first.places)


def test_what_is_compiled_for_a_umap_is_kept_for_the_next_process(clouds):
    umap_map(clouds[0], UmapSettings(neighbours=5, epochs=10))
    from umap import umap_

    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
        assert function.stats.cache_path, "numba keeps nothing of it"
        assert function.stats.cache_hits or function.stats.cache_misses


def test_a_map_survives_a_cache_that_cannot_be_written(clouds, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEMICON_CACHE", str(tmp_path / "file"))
    assert np.isfinite(umap_map(clouds[0][:60], UmapSettings(epochs=20)).places).all()


@pytest.mark.parametrize("method", ["PCA", "UMAP"])
def test_epochs_share_one_layout(clouds, method):
    vectors, _ = clouds
    moved = vectors.copy()
    moved[:10] = vectors[:10][:, ::-1]
    first, second = aligned([vectors, moved], method, UmapSettings(epochs=50))
    step = np.linalg.norm(first.places - second.places, axis=1)
    assert np.median(step[10:]) < 0.1 * np.ptp(first.places) < 10 * np.median(step[:10])
    if method == "PCA":
        assert step[10:].max() == 0


def test_epochs_of_different_pixels_are_refused(clouds):
    with pytest.raises(ValueError, match="same pixels"):
        aligned([clouds[0], clouds[0][:-1]])


def test_trustworthiness_is_that_of_scikit_learn(clouds):
    places = pca(clouds[0]).places, np.random.default_rng(0).random((300, 2)).astype(np.float32)
    for vectors, place in product((clouds[0], 1 + 1e-4 * clouds[0]), places):
        expected = sklearn_trustworthiness(vectors.astype(float), place.astype(float), n_neighbors=10)
        assert trustworthiness(vectors, place, 10, block=77) == pytest.approx(expected, abs=1e-5)


def test_alignment_and_uniformity_are_means_over_pairs(clouds):
    vectors, labels = clouds
    square = ((vectors[:, None].astype(float) - vectors[None]) ** 2).sum(-1)
    others = ~np.eye(len(vectors), dtype=bool)
    by_class = [square[np.ix_(labels == c, labels == c)][others[np.ix_(labels == c, labels == c)]].mean() for c in range(3)]
    assert alignment(vectors, labels) == pytest.approx(np.mean(by_class), rel=1e-4)
    assert uniformity(vectors, block=64) == pytest.approx(np.log(np.exp(-2 * square[others]).mean()), rel=1e-4)


@pytest.mark.parametrize("silent", [0, 1, 100, 299, 300])
def test_vectors_of_length_0_count_in_the_alignment_as_they_are(clouds, silent):
    vectors, labels = clouds[0] * (np.arange(300) >= silent)[:, None], clouds[1]
    square = [cdist(v, v, "sqeuclidean") for v in (vectors[labels == c].astype(float) for c in range(3))]
    assert alignment(vectors, labels) == pytest.approx(np.mean([s.sum() / (len(s) * (len(s) - 1)) for s in square]), rel=1e-9)


@pytest.mark.parametrize("factor", [5, 0.5, np.nan, np.linspace(0.9, 1.1, 300)[:, None]])
def test_lengths_other_than_1_are_refused_and_not_measured(clouds, factor):
    vectors, labels = clouds
    for measure in (lambda v: alignment(v, labels), uniformity, lambda v: trust(v, labels)):
        with pytest.raises(
            ValueError, match="vectors: .* of 300 (have another length than 1, such as .*, expected unit|embeddings are NaN)"
        ):
            measure((vectors * factor).astype(np.float32))
    half, silent = vectors.astype(np.float16), np.where(np.arange(300)[:, None] == 7, 0, vectors)
    assert alignment(half, labels) == pytest.approx(alignment(vectors, labels), abs=2e-3)
    for v in (half, silent):
        assert np.isfinite(alignment(v, labels)) and np.isfinite(uniformity(v))


def test_numbers_beat_their_controls_only_where_there_is_structure(clouds):
    vectors, labels = clouds
    real = {n.name: n for n in trust(vectors, labels, pca(vectors).places)}
    noise = {n.name: n for n in trust(vectors, np.random.default_rng(5).permutation(labels))}
    assert real["neighbour agreement"].value > 0.9 and real["neighbour agreement"].control < 0.45
    assert real["silhouette"].value > 0.2 > abs(real["silhouette"].control)
    assert real["alignment"].value < real["alignment"].control
    assert real["trustworthiness"].value > 0.7 and abs(real["trustworthiness"].control - 0.5) < 0.1
    assert abs(noise["neighbour agreement"].value - noise["neighbour agreement"].control) < 0.1
    assert abs(noise["silhouette"].value) < 0.05


def test_numbers_without_two_classes_are_nan_and_not_errors(clouds):
    vectors, labels = clouds
    for marks in (None, np.zeros(300, int), np.eye(300, dtype=int)[0]):
        found = {n.name: n.value for n in trust(vectors, marks)}
        assert np.isnan(found["silhouette"]) and np.isfinite(found["uniformity"])


# ------------------------------------------------------------------------------------------------ networks that fail


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def failing(kind: str, count: int = 200) -> np.ndarray:
    """Vectors of a network that failed in one way."""
    random = np.random.default_rng(0)
    some = unit(random.normal(size=(count, 8)))
    return {
        "zero": np.zeros((count, 8), np.float32),
        "constant": np.tile(some[:1], (count, 1)),
        "rounding": np.tile(some[:1], (count, 1)) * (1 + 1e-8 * random.normal(size=(count, 1))).astype(np.float32),
        "one channel": np.sign(some[:, :1]),
        "one constant channel": np.ones((count, 1), np.float32),
        "two points": some[random.integers(0, 2, count)],
        "five points": some[random.integers(0, 5, count)],
        "mostly one": np.vstack([np.tile(some[:1], (count - 20, 1)), some[:20]]),
        "a constant channel": unit(np.hstack([some, np.ones((count, 1), np.float32)])),
        "fewer than neighbours": some[:6],
        "four": some[:4],
    }[kind]


SAID = {
    "zero": "collapsed", "constant": "collapsed", "rounding": "collapsed", "one constant channel": "collapsed",
    "one channel": "One channel: the map is a line, drawn with PCA", "two points": "Only 2 different", "five points": "Only 5 different",
    "mostly one": "", "a constant channel": "", "fewer than neighbours": "", "four": "",
}  # fmt: skip


@pytest.mark.parametrize("kind", SAID)
def test_a_failed_network_gives_a_map_that_says_so(kind):
    vectors = failing(kind)
    quick = UmapSettings(epochs=10)
    assert all(np.isfinite(made.places).all() for made in aligned([vectors, vectors], "UMAP", quick))
    for made in (pca(vectors), umap_map(vectors, quick)):
        assert made.places.shape == (len(vectors), 2) and np.isfinite(made.places).all()
        assert SAID[kind] in made.note and bool(SAID[kind]) == bool(made.note)
        assert not made.note or made.method == "PCA"
        assert "collapsed" not in made.note or np.ptp(made.places, axis=0).max() == 0
    numbers = {n.name: n for n in trust(vectors, np.arange(len(vectors)) % 2, pca(vectors).places)}
    assert all(np.isfinite(n.value) or n.reads == "all vectors are the same" for n in numbers.values())
    assert "collapsed" not in SAID[kind] or (numbers["uniformity"].value == 0 and np.isnan(numbers["neighbour agreement"].value))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_that_are_none_are_refused_by_every_map_and_measure(bad):
    vectors = failing("mostly one").astype(np.float64)
    vectors[3, 2] = bad
    for make in (pca, umap_map, trust, uniformity, lambda v: aligned([v], "UMAP")):
        with np.errstate(over="ignore"), pytest.raises(ValueError, match="1 of 200 embeddings are NaN or infinite"):
            make(vectors)


def test_a_map_that_is_not_finite_is_neither_kept_nor_believed(clouds, tmp_path, monkeypatch):
    vectors, settings = clouds[0][:60], UmapSettings(epochs=10)
    first = umap_map(vectors, settings)
    (kept,) = (tmp_path / "cache" / "maps").glob("*.npy")
    np.save(kept, np.full_like(first.places, np.nan))
    np.testing.assert_array_equal(umap_map(vectors, settings).places, first.places)
    assert np.isfinite(np.load(kept)).all()
    kept.unlink()
    monkeypatch.setattr("semicon_nb.embed.lay_out", lambda vectors, settings, say: np.full((len(vectors), 2), np.nan, np.float32))
    made = umap_map(vectors, settings)
    assert made.method == "PCA" and "no place" in made.note and np.isfinite(made.places).all() and not kept.exists()


@pytest.mark.parametrize("found", [(8, 8), (8, 2, 8), (128,), (1, 8, 8)])
def test_labels_of_other_slices_are_refused(found):
    with pytest.raises(ValueError, match=r"labels: found shape \[.*\], expected \[2, 8, 8\]"):
        sample_pixels((2, 8, 8), 20, np.arange(np.prod(found)).reshape(found) % 2)


def test_trust_wants_one_label_and_one_place_for_each_vector():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(20, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels, places = [0, 1] * 10, random.normal(size=(20, 2)).astype(np.float32)
    assert trust(vectors, labels, places) == trust(vectors, np.array(labels), places)
    for name, given in {"labels": {"labels": labels[:9]}, "places": {"places": places[:9]}}.items():
        with pytest.raises(ValueError, match=rf"{name}: found shape .*, expected \[20.*\]; give one for each of the 20 vectors"):
            trust(vectors, **given)


@pytest.mark.parametrize(
    ("ask", "name"),
    [(lambda v: pixel_embeddings(lambda x: x, np.zeros((2, 4, 4)), batch=0), "batch"), (lambda v: pixel_embeddings(lambda x: x, np.zeros((2, 4, 4)), batch=-1), "batch"),
     (lambda v: sample_pixels((2, 4, 4), -3), "count"), (lambda v: pca(v, 0), "dims"), (lambda v: pca(v, 2.5), "dims"), (lambda v: neighbours(v, -1), "count"),
     (lambda v: neighbours(v, 2, 0), "block"), (lambda v: UmapSettings(neighbours=1), "neighbours"), (lambda v: UmapSettings(epochs=0), "epochs"),
     (lambda v: UmapSettings(spread=-1), "spread"), (lambda v: UmapSettings(seed=-1), "seed")],
)  # fmt: skip
def test_numbers_that_cannot_be_meant_are_refused_by_name(ask, name):
    with pytest.raises(ValueError, match=f"^{name}: found .*, expected"):
        ask(np.random.default_rng(0).random((9, 4)))


def test_a_network_without_a_pixel_head_has_none():
    """Its logits were taken for the vectors of its head, in silence."""
    network = nn.Conv2d(1, 3, 1)
    assert pixel_embeddings(network, np.zeros((1, 4, 4))).shape == (1, 4, 4, 3)
    with pytest.raises(ValueError, match="layer: found 'head', but Conv2d has no embed_pixels"):
        pixel_embeddings(network, np.zeros((1, 4, 4)), "head")
