"""Training of StarDist networks: on annotated stacks, on simulated ones, or on both."""

from poolvox.organoid3d.training.plan import TrainOptions
from poolvox.organoid3d.training.session import Progress, Trained, train_model
from poolvox.organoid3d.training.sources import AnnotatedStack, Source, find_sources, read_source
from poolvox.organoid3d.training.variety import simulate_example

__all__ = [
    "AnnotatedStack",
    "Progress",
    "Source",
    "TrainOptions",
    "Trained",
    "find_sources",
    "read_source",
    "simulate_example",
    "train_model",
]
