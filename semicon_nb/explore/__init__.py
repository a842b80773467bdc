"""Six ways to look at what contrastive learning does, each one call and each also a page without a kernel; the demo."""

from .cohort import CohortBrowser
from .demo import make_demo
from .page import html_table, write_page
from .guess import GuessingGame
from .pixels import PixelExplorer
from .play import Playground
from .record import Recorder, example_models
from .replay import TrainingReplay
from .results import ResultsExplorer
from .strategy import StrategyExplorer
from .temperature import TemperatureExplorer
from .widgets import Explorer, frame, in_place, safely
