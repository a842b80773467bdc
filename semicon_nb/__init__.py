"""Learn, see and test semi-supervised contrastive learning for medical image segmentation."""

__version__ = "0.1.0"
