"""Objectives: Keras models with their own `train_step`, each with an `.encoder`."""

from tf_infomax.objectives.aae import AAE
from tf_infomax.objectives.autoencoder import VAE, Autoencoder
from tf_infomax.objectives.base import Objective, Value
from tf_infomax.objectives.bigan import BiGAN
from tf_infomax.objectives.coordinates import Coordinates
from tf_infomax.objectives.infomax import InfoMax
from tf_infomax.objectives.memory import MemoryBank
from tf_infomax.objectives.nat import NAT
from tf_infomax.objectives.negatives import NEGATIVES
from tf_infomax.objectives.only_prior import OnlyPrior
from tf_infomax.objectives.presets import (
    ae,
    beta_vae,
    build,
    dim_global,
    dim_local,
    dim_local_global,
    vae,
)
from tf_infomax.objectives.prior_matching import PriorMatching
from tf_infomax.objectives.supervised import Supervised
from tf_infomax.objectives.tasks import Task
from tf_infomax.objectives.terms import Term

__all__ = [
    "AAE",
    "NAT",
    "NEGATIVES",
    "VAE",
    "Autoencoder",
    "BiGAN",
    "Coordinates",
    "InfoMax",
    "MemoryBank",
    "Objective",
    "OnlyPrior",
    "PriorMatching",
    "Supervised",
    "Task",
    "Term",
    "Value",
    "ae",
    "beta_vae",
    "build",
    "dim_global",
    "dim_local",
    "dim_local_global",
    "vae",
]
