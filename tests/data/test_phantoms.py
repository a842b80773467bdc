"""The phantom: the same bytes everywhere, and hard for the reasons that real scans are hard."""

import hashlib
import inspect
import json
import re
import tracemalloc

import numpy as np
import pytest

from semicon_nb.data import phantom, split
from semicon_nb.data import phantoms as module

RECORDED = {
    "hippocampus": "676d7c2a53ccee418c3acbe2307055366b1ae98ffd4e86cadda30c5151f2a443",
    "cardiac": "98c7fb6fe7f5c1311c181e875fc1b14f89f36991501d5baef97da2b635c04986",
}


def sha(cohort) -> str:
    total = hashlib.sha256()
    for array in (np.rint(cohort.images.astype(np.float64) * 255).astype(np.uint8), cohort.labels, cohort.volume.astype("<i4")):
        total.update(array.tobytes())
    return total.hexdigest()


@pytest.fixture(scope="module", params=list(RECORDED))
def cohort(request):
    return phantom(request.param)


@pytest.mark.parametrize("kind", RECORDED)
def test_same_bytes_everywhere(kind):
    assert sha(phantom(kind, subjects=3)) == RECORDED[kind]


def test_only_arithmetic_that_every_machine_rounds_alike():
    """No sine, power, product of matrices or sum over an array: their last bit depends on the library and the processor."""
    used = set(re.findall(r"\bnp\.(\w+(?:\.\w+)?)", inspect.getsource(module)))
    exact = {
        "ndarray",
        "uint8",
        "uint64",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
        "array",
        "arange",
        "full",
        "zeros",
        "ones",
        "clip",
        "floor",
        "abs",
        "rint",
        "sort",
        "prod",
        "concatenate",
        "repeat",
        "tile",
        "linspace",
        "random.PCG64",
        "random.SeedSequence",
    }
    assert used <= exact, used - exact
    assert "@" not in re.sub(r"@dataclass", "", inspect.getsource(module)) and "**" not in inspect.getsource(module._elevation)


def test_seeds_and_people():
    a, b = phantom(subjects=2, size=16, seed=1), phantom(subjects=2, size=16, seed=2)
    assert not np.array_equal(a.images, b.images) and a.fingerprint != b.fingerprint
    assert phantom(subjects=2, size=16, seed=1).fingerprint == a.fingerprint
    more = phantom(subjects=4, size=16, seed=1)
    assert np.array_equal(more.images[: len(a)], a.images)


def test_default_size():
    cohort = phantom()
    assert len(cohort.subjects) == 24 and cohort.size == 64


def test_images_and_labels(cohort):
    assert cohort.images.dtype == np.float16 and cohort.labels.dtype == np.uint8
    assert cohort.images.min() == 0 and cohort.images.max() == 1
    assert set(np.unique(cohort.labels)) == set(range(len(cohort.classes)))
    assert cohort.labelled.all()
    for v in range(len(cohort.volumes)):
        assert len(np.unique(cohort.labels[cohort.volume == v])) >= len(cohort.classes) - 1


def touching(labels: np.ndarray, a: int, b: int) -> bool:
    beside = [(labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])]
    return any((((x == a) & (y == b)) | ((x == b) & (y == a))).any() for x, y in beside)


def test_structures_touch():
    cohort = phantom()
    both = [i for i in range(len(cohort)) if {1, 2} <= set(np.unique(cohort.labels[i]))]
    assert len(both) > len(cohort) / 3
    assert np.mean([touching(cohort.labels[i], 1, 2) for i in both]) > 0.8
    heart = phantom("cardiac")
    assert np.mean([touching(heart.labels[i], 1, 5) for i in np.flatnonzero((heart.labels == 1).any((1, 2)))]) > 0.95


def test_slice_position_matters():
    cohort = phantom()
    middle = cohort.position[:, None, None]
    mean = {k: float((middle * (cohort.labels == k)).sum() / (cohort.labels == k).sum()) for k in (1, 2)}
    assert mean[2] - mean[1] > 0.2


def test_anatomy_varies_by_subject_and_sides_are_alike():
    cohort = phantom()
    size = np.array([(cohort.labels[cohort.volume == v] > 0).sum() for v in range(len(cohort.volumes))], float)
    left, right = size[::2], size[1::2]
    assert size.std() / size.mean() > 0.15
    assert np.corrcoef(left, right)[0, 1] > 0.8
    assert abs(np.corrcoef(left, np.roll(right, 1))[0, 1]) < 0.5
    rows = np.arange(64)[None, :, None]
    where = [float((rows * (cohort.labels[cohort.volume == v] > 0)).sum() / size[v]) for v in range(0, len(size), 2)]
    assert np.std(where) > 3


def test_contrast_and_noise_vary_by_scan():
    cohort = phantom()
    inside = [float(cohort.images[cohort.volume == v][cohort.labels[cohort.volume == v] > 0].mean()) for v in range(48)]
    rough = [float(np.abs(np.diff(cohort.images[cohort.volume == v].astype(np.float32), axis=2)).mean()) for v in range(48)]
    assert np.std(inside) > 0.04
    assert max(rough) > 1.8 * min(rough)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_intensity_alone_fails(cohort):
    """The best band of intensities, chosen with the truth in hand, does not find the structures."""
    level = np.rint(cohort.images.astype(np.float32) * 63).astype(np.int64)
    counts = np.histogram2d(level.ravel(), cohort.labels.ravel(), [range(65), range(len(cohort.classes) + 1)])[0]
    below = np.concatenate([np.zeros((1, counts.shape[1])), counts.cumsum(0)])
    best = []
    for k in range(1, len(cohort.classes)):
        found = below[:, None] - below[None]
        best.append(float((2 * found[..., k] / np.maximum(found.sum(-1) + counts[:, k].sum(), 1)).max()))
    assert np.mean(best) < 0.4, best


def features(cohort, rows: np.ndarray) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    images = cohort.images[rows].astype(np.float32)
    row, column = np.meshgrid(*[np.linspace(0, 1, cohort.size, dtype=np.float32)] * 2, indexing="ij")
    plain = [images, uniform_filter(images, (1, 3, 3)), uniform_filter(images, (1, 9, 9))]
    place = [np.broadcast_to(p, images.shape) for p in (row, column, cohort.position[rows][:, None, None])]
    return np.stack([*plain, *place], -1).reshape(-1, 6)


def test_pixel_classifier_fails(cohort):
    """Brightness, its means around, and where in the picture and the volume: not enough without shape."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    s = split(cohort, 1.0)
    number = {v.name: i for i, v in enumerate(cohort.volumes)}
    train, test = (np.flatnonzero(np.isin(cohort.volume, [number[n] for n in part])) for part in (s.train, s.test))
    model = HistGradientBoostingClassifier(max_iter=25, random_state=0).fit(
        features(cohort, train)[::17], cohort.labels[train].ravel()[::17]
    )
    found, truth = model.predict(features(cohort, test)), cohort.labels[test].ravel()
    reached = [dice(found == k, truth == k) for k in range(1, len(cohort.classes))]
    assert 0.1 < np.mean(reached) < 0.65, reached


def test_making_takes_little_more_memory_than_what_it_holds():
    tracemalloc.start()
    cohort = phantom(subjects=60, size=64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = cohort.images.nbytes + cohort.labels.nbytes
    assert held > 10e6 and peak < 1.6 * held, f"{peak / held:.2f} times"


def test_numbers_of_numpy_are_numbers():
    one, two = phantom(subjects=np.int64(2), size=np.int32(16), seed=np.int64(1)), phantom(subjects=2, size=16, seed=1)
    assert one.fingerprint == two.fingerprint and json.dumps(one.source) == json.dumps(two.source)


def test_refuses_nonsense():
    with pytest.raises(ValueError, match="kind: found 'liver', expected one of hippocampus, simple, cardiac"):
        phantom("liver")
    for wrong in (0, True, 2.0, "2"):
        with pytest.raises(ValueError, match="subjects: found .*, expected a whole number from 1 upwards"):
            phantom(subjects=wrong)
    with pytest.raises(ValueError, match="seed: found -1"):
        phantom(seed=-1)
    with pytest.raises(ValueError, match="size"):
        phantom(size=3)


def train(cohort, labelled: float, steps: int = 200) -> float:
    """Pooled Dice on test subjects of a 16-filter U-Net from scratch, with random brightness and nothing else."""
    import torch
    import torch.nn.functional as F

    from semicon_nb.data import labelled_indices, part_indices
    from semicon_nb.unet import UNet

    s = split(cohort, labelled)
    torch.manual_seed(0)
    model, draw = UNet(classes=len(cohort.classes), width=16), torch.Generator().manual_seed(0)
    images, labels = torch.tensor(cohort.images.astype(np.float32))[:, None], torch.tensor(cohort.labels.astype(np.int64))
    rows = torch.tensor(labelled_indices(cohort, s))
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        batch = rows[torch.randint(len(rows), (12,), generator=draw)]
        logits = model(images[batch] * (0.8 + 0.4 * torch.rand(12, 1, 1, 1, generator=draw)))
        found, truth = logits.softmax(1)[:, 1:], F.one_hot(labels[batch], len(cohort.classes)).movedim(-1, 1)[:, 1:]
        soft = (2 * (found * truth).sum((0, 2, 3)) + 1) / ((found + truth).sum((0, 2, 3)) + 1)
        loss = F.cross_entropy(logits, labels[batch]) + 1 - soft.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    test = part_indices(cohort, s, "test")
    model.eval()
    with torch.no_grad():
        guess = torch.cat([model(images[test[i : i + 32]]).argmax(1) for i in range(0, len(test), 32)]).numpy()
    return float(np.mean([dice(guess == k, cohort.labels[test] == k) for k in range(1, len(cohort.classes))]))


@pytest.mark.slow
def test_few_labels_are_clearly_worse_than_all_and_all_are_enough():
    cohort = phantom()
    few, every = train(cohort, 0.1), train(cohort, 1.0)
    print(f"pooled Dice of a 16-filter U-Net from scratch: {few:.3f} with 10 % of the labels, {every:.3f} with all")
    assert every > 0.7
    assert every - few > 0.1
