"""The model card: what an exported encoder is, in JSON."""

from importlib.metadata import version

from tf_infomax.encoders.any_size import name_row
from tf_infomax.evaluation.features import hash_weights
from tf_infomax.export.signatures import Parts, Signature
from tf_infomax.training.trained import Trained

_LIBRARIES = ("tensorflow", "keras", "numpy", "tf_infomax")


def describe(trained: Trained, which: str, parts: Parts, results: dict) -> dict:
    """What was trained, and how images reach it.

    Args:
        trained: the run.
        which: the checkpoint, "last" or "best".
        parts: what is exported.
        results: of this checkpoint's evaluation, flat; empty if it had none.
    """
    config = trained.config
    height, width, channels = parts.image_shape
    return {
        "encoder": name_row(config.encoder, trained.objective.encoder),
        "code_size": parts.encoder.output["code"].shape[-1],
        "dataset": config.dataset,
        "objective": config.objective,
        "views": config.views,
        **trained.objective.describe(),
        "checkpoint": which,
        "steps": trained.step,
        "seed": config.seed,
        "results": results,
        "preprocessing": {
            "image": [height, width, channels],
            "resize": f"{parts.resize}, bilinear with antialiasing",
            "formats": ["JPEG", "PNG", "GIF (first frame)", "BMP"],
            "largest_image_pixels": parts.largest,
            "scaling": "inside the graph; images are uint8",
        },
        "compute": "float32",
        "weights_sha256": hash_weights(parts.encoder.get_weights()),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def describe_signatures(parts: Parts, signatures: dict[str, Signature]) -> dict:
    """What requests look like, and the classifier's classes."""
    classifier = parts.classifier
    return {
        "signatures": {
            name: {
                spec.name: {"shape": spec.shape.as_list(), "dtype": spec.dtype.name}
                for spec in signature.inputs
            }
            for name, signature in signatures.items()
        },
        "classifier": classifier
        and {"classes": classifier.names, "test_accuracy": classifier.accuracy},
    }
