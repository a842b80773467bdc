"""Scans become cohorts: found, read, cut into slices, checked, split by subject."""

from .cohort import Codes, Cohort, Volume, class_order, contact_sheet, describe, matched, native_labels, read_labels, take
from .cohorts import COHORTS, MMWHS, cardiac, folder, hippocampus, load, mmwhs, sunnybrook
from .download import locate, places
from .likeness import seen, unlike
from .phantoms import phantom
from .reading import DataError, Scan, read_image, read_scan, turned
from .scans import Grid, from_grid, normalise, to_grid
from .splits import LeakError, Split, belongs, guard, labelled_indices, load_split, part_indices, save_split, split, unlabelled_indices
