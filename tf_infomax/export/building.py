"""From a run to a published export."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from tf_infomax.data.decoding import resize_array
from tf_infomax.data.division import name_some
from tf_infomax.data.fashion import load_fashion
from tf_infomax.data.images import DataError, name_class
from tf_infomax.evaluation.features import FeatureExtractor
from tf_infomax.evaluation.probes import fit_linear
from tf_infomax.export.card import describe, describe_signatures
from tf_infomax.export.conversion import convert
from tf_infomax.export.deployment import write_deployment
from tf_infomax.export.publishing import publishing
from tf_infomax.export.recording import WARMUP_SIZES, write_requests
from tf_infomax.export.signatures import (
    Classifier,
    Parts,
    Signature,
    build_signatures,
    make_embed,
)
from tf_infomax.export.verification import ExportError, verify
from tf_infomax.options import Config
from tf_infomax.options.flags import format_flags
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.remarks import without_remarks
from tf_infomax.runtime.seals import seal_text
from tf_infomax.training.experiment import Data, load_data
from tf_infomax.training.trained import load_trained
from tf_infomax.training.workdir import WorkDirectory

_SHOWN = 64  # images for warm-up, verification and calibration


def export_run(
    workdir: WorkDirectory,
    config: Config,
    options,
    target: Path,
    tell: Callable[[str], None],
) -> None:
    """Exports a checkpoint of a run as `target`.

    Args:
        workdir: the run.
        config: its options, with drivers (where data lie) as given now.
        options: `saved_model.ExportOptions`.
        target: version folder or file, which must not exist.
        tell: hears what was found.

    Raises:
        ConfigError: if the run or the target cannot be used.
        ExportError: if the export does not prove right; nothing is published then.
    """
    trained = load_trained(workdir, options.checkpoint)
    data = _load_data(config, tell)
    images = _choose_images(data, trained.image_shape)
    parts = Parts(
        trained.objective.encoder,
        trained.image_shape,
        config.resize,
        options.largest_image,
        critics=trained.objective.list_critics() if options.critics else (),
        empty_batches=options.format == "saved_model",
    )
    results = workdir.read_results(options.checkpoint)
    if results.get("step", {}).get("mean") != trained.step:
        results = {}  # of another checkpoint
    card = describe(trained, options.checkpoint, parts, results)
    if options.format == "saved_model":
        if options.classify:
            parts = replace(
                parts, classifier=_fit_classifier(parts.encoder, data, config, tell)
            )
        _publish_served(parts, images, target, card, workdir.read_config(), tell)
    else:
        _publish_converted(parts, images, target, card, options, tell)


def _publish_served(
    parts: Parts, images, target: Path, card: dict, config: Config, tell
) -> None:
    _require_serving_api()
    name, signatures = target.parent.name, build_signatures(parts)
    with publishing(target) as built:
        save_for_serving(built, name, signatures, images)
        difference = verify(built, name, signatures, images)
        tell(f"verified: largest difference to the encoder in memory {difference:.2g}")
        card |= describe_signatures(parts, signatures)
        card["verification"] = {"largest_difference": difference}
        _write_json(built / "assets.extra" / "model_card.json", card)
        flagfile = seal_text(format_flags(config.replace(workdir="")))
        (built / "assets.extra" / "run.flags").write_text(flagfile, "utf-8")
        write_deployment(target.parent)


def _publish_converted(parts, images, target: Path, card: dict, options, tell) -> None:
    signature = {"serving_default": make_embed(parts)}
    expected = np.asarray(parts.encoder(images)["code"])
    with publishing(target) as built:
        model = built.with_name("model")
        save(model, signature)
        report = convert(
            options.format, model, built, options.quantize, images, expected
        )
        tell(", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in report.items()))
        card |= describe_signatures(parts, signature)
        card["verification"] = {"quantize": options.quantize, **report}
        _write_json(target.with_suffix(f"{target.suffix}.json"), card)


def save(path: Path, signatures: dict[str, Signature]) -> None:
    """Writes a SavedModel of these signatures.

    Neither by `tf.saved_model.save` of a Keras model, whose variables TensorFlow
    Serving does not find, nor with `track`, which stores each weight twice.
    """
    archive = keras.export.ExportArchive()
    with without_remarks():
        for name, signature in signatures.items():
            archive.add_endpoint(
                name, signature.function, input_signature=list(signature.inputs)
            )
        archive.write_out(str(path), verbose=False)


def save_for_serving(
    path: Path, name: str, signatures: dict[str, Signature], images: np.ndarray
) -> None:
    """A SavedModel with a warm-up file: one request per signature and batch size.

    Args:
        path: the version folder.
        name: of the model.
        signatures: what it answers.
        images: at least `max(WARMUP_SIZES)` real images.
    """
    save(path, signatures)
    extra = path / "assets.extra"
    extra.mkdir()
    write_requests(
        extra / "tf_serving_warmup_requests", name, signatures, images, WARMUP_SIZES
    )


def _require_serving_api() -> None:
    try:
        import tensorflow_serving.apis  # noqa: F401
    except ImportError as error:
        raise ExportError(
            "exports are verified with the protocol of TensorFlow Serving: "
            "pip install 'tf_infomax[serving]'."
        ) from error


def _load_data(config: Config, tell) -> Data | None:
    try:
        return load_data(config)
    except DataError as error:
        tell(f"the run's data cannot be read: {error}")
        tell("no classifier; verified on the embedded images of Fashion-MNIST")
        return None


def _choose_images(data: Data | None, shape: tuple[int, int, int]) -> np.ndarray:
    """Real images `[64, H, W, C]`: of the test part, or embedded ones."""
    if data is not None:
        return data.test.single.images[np.arange(_SHOWN) % len(data.test)]
    images = resize_array(load_fashion().test.images[:_SHOWN], shape[:2], "stretch")
    return np.repeat(images, shape[2], axis=-1)


def _fit_classifier(encoder, data: Data | None, config: Config, tell):
    if data is None:
        return None
    if data.probe_train is None:
        tell(f"no signature `classify`: {data.labels}")
        return None
    if data.left_out:
        tell(f"too rare for `classify`, left out: {name_some(data.left_out)}")
    train, test = data.probe_train.labelled_part(config.probe_images), data.probe_test
    extract = FeatureExtractor(encoder, ["code"])
    weights, bias, labels = fit_linear(extract(train.images)["code"], train.labels)
    logits = extract(test.images)["code"] @ weights + bias
    accuracy = float(np.mean(labels[logits.argmax(axis=1)] == test.labels))
    tell(f"linear probe for `classify`: {100 * accuracy:.1f} % of the test images")
    names = tuple(name_class(train.class_names, label) for label in labels)
    return Classifier(weights, bias, names, accuracy)


def _write_json(path: Path, content: dict) -> None:
    with replacing(path) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
