"""Scans become cohorts: found, read, cut into slices, checked, split by subject."""

from .cohort import Codes, Cohort, Volume, class_order, contact_sheet, describe, match_classes, native_labels
from .cohorts import COHORTS, cohort_folders, hippocampus, load, mmwhs, reader_of, settled, sunnybrook, unplaced
from .folders import folder
from .phantoms import phantom
from .reading import DataError, Scan, read_image, read_scan, reorient
from .scans import Grid, from_grid, normalise, to_grid
from .slices import assemble, deviations, scan_profile
from .splits import (
    LeakError, Split, check_split, guard, labelled_indices, load_split, part_indices, save_split, split,
    unlabelled_indices,
)
