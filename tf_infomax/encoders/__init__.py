"""Encoders: functional Keras models from uint8 images to named features.

Every encoder maps `[N, H, W, C]` uint8 to a dict of float32 features

* `local` `[N, H', W', C']`: the map whose positions the local critic scores,
* `conv` `[N, H'', W'', C'']`: the last convolution, `fc` `[N, F]`: the last hidden
  layer (both where the architecture has them),
* `code` `[N, D]`: the representation Y;
* `globals` `[N, H'', W'', D]`: of `foldmultialex64x64`, several of it.

Scaling to [-1, 1] happens inside, so that training and serving cannot differ.
Beside them stand what some objectives set against an encoder: decoders from a code to
an image (`decoders`), and discriminators of pairs of both (`discriminators`).
"""

from tf_infomax.encoders.adapted import FEATURES, adapt_keras_model, strip_scaling
from tf_infomax.encoders.convnet import CONVNETS, build_convnet, build_trunk
from tf_infomax.encoders.decoders import build_decoder
from tf_infomax.encoders.discriminators import build_pair_discriminator
from tf_infomax.encoders.half_images import build_half_convnet, build_skip_mlp
from tf_infomax.encoders.mlp import build_mlp
from tf_infomax.encoders.predictive import (
    build_cpc,
    build_cpc_sequence,
    predicted_distances,
)
from tf_infomax.encoders.real_nvp import RealNVP, build_real_nvp
from tf_infomax.encoders.receptive_field import find_receptive_field
from tf_infomax.options import encoders as rows
from tf_infomax.options.encoders import SAME_SIZE

__all__ = [
    "CONVNETS",
    "ENCODERS",
    "FEATURES",
    "SAME_SIZE",
    "RealNVP",
    "adapt_keras_model",
    "build_convnet",
    "build_cpc",
    "build_cpc_sequence",
    "build_decoder",
    "build_half_convnet",
    "build_mlp",
    "build_pair_discriminator",
    "build_real_nvp",
    "build_skip_mlp",
    "build_trunk",
    "find_receptive_field",
    "predicted_distances",
    "strip_scaling",
]

ENCODERS = {name: row.load() for name, row in rows.ENCODERS.items() if not row.argument}
