"""Encoders: functional Keras models from uint8 images to named features.

Every encoder maps `[N, H, W, C]` uint8 to a dict of float32 features

* `local` `[N, H', W', C']`: the map whose positions the local critic scores,
* `conv` `[N, H'', W'', C'']`: the last convolution, `fc` `[N, F]`: the last hidden
  layer (both where the architecture has them),
* `code` `[N, D]`: the representation Y.

Scaling to [-1, 1] happens inside, so that training and serving cannot differ.
"""

from tf_infomax.encoders.adapted import FEATURES, adapt_keras_model, strip_scaling
from tf_infomax.encoders.convnet import CONVNETS, build_convnet, build_trunk
from tf_infomax.encoders.half_images import build_half_convnet, build_skip_mlp
from tf_infomax.encoders.mlp import build_mlp
from tf_infomax.encoders.predictive import (
    build_cpc,
    build_cpc_sequence,
    predicted_distances,
)
from tf_infomax.encoders.real_nvp import RealNVP, build_real_nvp

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
    "build_half_convnet",
    "build_mlp",
    "build_real_nvp",
    "build_skip_mlp",
    "build_trunk",
    "predicted_distances",
    "strip_scaling",
]

ENCODERS = {
    "basic28x28": lambda shape, code: build_convnet("basic28x28", shape, code),
    "basic32x32": lambda shape, code: build_convnet("basic32x32", shape, code),
    "basic64x64": lambda shape, code: build_convnet("basic64x64", shape, code),
    "cpc": build_cpc,
    "half_convnet": build_half_convnet,
    "mlp": lambda shape, code: build_mlp((300, 300), shape, code),
    "real_nvp": lambda shape, code: build_real_nvp(shape),
    "skip_mlp": lambda shape, code: build_skip_mlp(shape),
}
# Their code has as many numbers as the image.
SAME_SIZE = ("real_nvp", "skip_mlp")
