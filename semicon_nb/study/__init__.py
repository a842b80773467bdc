"""What only our own experiments use: defects of the released code, and one knob turned at a time."""

from .ablations import variant, variants
from .defects import bilinear_labels, method_with, resized_as_released, train_local_identical, with_defects
