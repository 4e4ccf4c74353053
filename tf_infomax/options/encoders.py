"""The encoders that can be chosen, and their options."""

from dataclasses import dataclass

from tf_infomax.options.core import Options, Row, option, refuse_if

_GROUP = "Encoder"
_MAPS = frozenset({"local", "conv", "fc", "code"})
_VECTORS = frozenset({"fc", "code"})
_CODE = frozenset({"code"})


@dataclass(frozen=True)
class NamedLayers(Options):
    """Of encoders that are networks made for something else."""

    encoder_layers: tuple[str, ...] = option(
        (),
        _GROUP,
        "Layers of keras:FILE, as local=NAME,code=NAME[,conv=NAME][,fc=NAME]"
        "[,globals=NAME]; of applications:NAME and keras_hub:PRESET instead of those "
        "chosen by rule.",
    )
    slow_layers: str = option(
        "", _GROUP, "The last layer of such a network that is trained at --slow_rate."
    )
    slow_rate: float = option(
        0.1, _GROUP, "Their share of the learning rate.", above=0.0, high=1.0
    )

    @staticmethod
    def check(config) -> None:
        refuse_if(
            any(layer.count("=") != 1 for layer in config.encoder_layers),
            "--encoder_layers takes feature=layer pairs. Received: "
            f"{','.join(config.encoder_layers)}.",
        )
        refuse_if(
            config.is_changed("slow_rate") and not config.slow_layers,
            f"--slow_rate={config.slow_rate} needs --slow_layers.",
        )


@dataclass(frozen=True)
class Backbone(NamedLayers):
    """Of a network of keras.applications or of KerasHub."""

    backbone_weights: str = option(
        "",
        _GROUP,
        "A file of weights without the top; imagenet (of applications:NAME) or preset "
        "(of keras_hub:PRESET), fetched unless they are there; empty: drawn at random.",
    )
    frozen_layers: str = option(
        "", _GROUP, "The last layer of such a network that is not trained."
    )


@dataclass(frozen=True)
class Adapted(NamedLayers):
    """Of a Keras model of the user's."""

    encoder_input: str = option(
        "0_255",
        _GROUP,
        "What keras:FILE expects pixels to be.",
        choices=("0_255", "0_1", "-1_1"),
    )

    @staticmethod
    def check(config) -> None:
        refuse_if(
            not config.encoder_layers,
            "--encoder=keras:FILE needs --encoder_layers. Received: "
            f"--encoder={config.encoder}.",
        )


def _features_of_layers(config) -> frozenset[str]:
    return frozenset(pair.partition("=")[0] for pair in config.encoder_layers)


ENCODERS: dict[str, Row] = {
    "auto": Row("tf_infomax.encoders.any_size:build_auto", gives=_MAPS),
    "basic28x28": Row("tf_infomax.encoders.convnet:build_basic28x28", gives=_MAPS),
    "basic32x32": Row("tf_infomax.encoders.convnet:build_basic32x32", gives=_MAPS),
    "basic64x64": Row("tf_infomax.encoders.convnet:build_basic64x64", gives=_MAPS),
    "alex64x64": Row("tf_infomax.encoders.alexnet:build_alexnet", gives=_MAPS),
    "foldalex64x64": Row(
        "tf_infomax.encoders.alexnet:build_folded_alexnet", gives=_MAPS
    ),
    "foldmultialex64x64": Row(
        "tf_infomax.encoders.alexnet:build_folded_alexnet_of_places",
        gives=frozenset({"local", "conv", "globals", "code"}),
    ),
    "resnet": Row("tf_infomax.encoders.any_size:build_resnet_of_any_size", gives=_MAPS),
    "resnet19_32x32": Row("tf_infomax.encoders.resnet:build_resnet", gives=_MAPS),
    "foldresnet19_32x32": Row(
        "tf_infomax.encoders.resnet:build_folded_resnet", gives=_MAPS
    ),
    "cpc": Row(
        "tf_infomax.encoders.predictive:build_cpc",
        gives=frozenset({"conv", "code", "future", "past"}),
    ),
    "half_convnet": Row(
        "tf_infomax.encoders.half_images:build_half_convnet", gives=_MAPS
    ),
    "mlp": Row("tf_infomax.encoders.mlp:build_wide_mlp", gives=_VECTORS),
    "real_nvp": Row("tf_infomax.encoders.real_nvp:build_of_image_size", gives=_CODE),
    "skip_mlp": Row("tf_infomax.encoders.half_images:build_of_image_size", gives=_CODE),
    "applications": Row(
        "tf_infomax.encoders.backbones:load_backbone",
        options=Backbone,
        gives=_MAPS,
        argument="NAME",
    ),
    "keras_hub": Row(
        "tf_infomax.encoders.backbones:load_hub_backbone",
        options=Backbone,
        gives=_MAPS,
        argument="PRESET",
    ),
    "keras": Row(
        "tf_infomax.encoders.adapted:load_adapted",
        options=Adapted,
        gives=_features_of_layers,
        argument="FILE",
    ),
}
# Those whose layers `--global_critic=global_dot` can copy.
CONVNETS = ("basic28x28", "basic32x32", "basic64x64")
# Their code has as many numbers as the image.
SAME_SIZE = ("real_nvp", "skip_mlp")
