"""Six ways to look at what contrastive learning does, each one call, each also a page without a kernel"""

from .cohort import CohortBrowser
from .pixels import PixelExplorer
from .record import Recorder
from .replay import TrainingReplay
from .results import ResultsExplorer
from .strategy import StrategyExplorer
from .temperature import TemperatureExplorer
