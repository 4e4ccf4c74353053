"""Other runtimes: a SavedModel's `serving_default` as LiteRT (TFLite) or ONNX.

Each converter is followed by the runtime itself: what it answers is compared with the
encoder in memory before anything is published.
"""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_infomax.export.verification import TOLERANCE, ExportError, compare


@dataclass(frozen=True)
class Runtime:
    """A row of `RUNTIMES`.

    Attributes:
        convert: (SavedModel, file, quantization, images for calibration).
        run: (file, images) -> embedding.
    """

    convert: Callable[[Path, Path, str, np.ndarray], None]
    run: Callable[[Path, np.ndarray], np.ndarray]


def convert_to_tflite(
    model: Path, file: Path, quantization: str, images: np.ndarray
) -> None:
    """ "none": float32; "dynamic": int8 weights; "int8": weights and activations."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(model), signature_keys=["serving_default"], tags={"serve"}
    )
    if quantization != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "int8":
        converter.representative_dataset = lambda: (
            {"images": image[None]} for image in images
        )
    with warnings.catch_warnings():
        # The converter calibrates with TensorFlow's own, deprecated interpreter.
        warnings.simplefilter("ignore")
        file.write_bytes(converter.convert())


def run_tflite(file: Path, images: np.ndarray) -> np.ndarray:
    """By LiteRT's own interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(file)).get_signature_runner("serving_default")
    return runner(images=images)["embedding"]


def convert_to_onnx(
    model: Path, file: Path, quantization: str, images: np.ndarray
) -> None:
    """Opset 18, batch of any size."""
    result = subprocess.run(
        [
            *(sys.executable, "-m", "tf2onnx.convert", "--opset", "18"),
            *("--saved-model", str(model), "--signature_def", "serving_default"),
            *("--output", str(file)),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if result.returncode:
        raise ValueError((result.stderr.strip().splitlines() or ["no message"])[-1])


def run_onnx(file: Path, images: np.ndarray) -> np.ndarray:
    """By ONNX Runtime on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(file), providers=["CPUExecutionProvider"]
    )
    return session.run(["embedding"], {"images": images})[0]


RUNTIMES: dict[str, Runtime] = {
    "tflite": Runtime(convert_to_tflite, run_tflite),
    "onnx": Runtime(convert_to_onnx, run_onnx),
}


def convert(
    kind: str,
    model: Path,
    file: Path,
    quantization: str,
    images: np.ndarray,
    expected: np.ndarray,
) -> dict[str, float]:
    """Converts and verifies: batches of 1, 7 and all of the images.

    Args:
        kind: a key of `RUNTIMES`.
        model: a SavedModel.
        file: to be written.
        quantization: "none", "dynamic" or "int8" (tflite only).
        images: real images, for calibration and verification.
        expected: their embedding by the encoder in memory.

    Returns:
        `largest_difference`, and for a quantized model `cosine_mean` and `cosine_min`
        to the embedding in float32.

    Raises:
        ExportError: if the graph cannot be converted, a package is missing, or the
            runtime answers differently.
    """
    runtime = RUNTIMES[kind]
    try:
        runtime.convert(model, file, quantization, images)
        answers = {
            size: runtime.run(file, images[:size]) for size in (1, 7, len(images))
        }
    except ImportError as error:
        raise ExportError(
            f"--format={kind} needs {error.name}: pip install 'tf_infomax[export]'."
        ) from error
    except Exception as error:  # converters raise whatever they like
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"--format={kind}: the graph cannot be converted: {reason[:300]}"
        ) from error
    differences = [compare(each, expected[:size]) for size, each in answers.items()]
    report = {"largest_difference": max(differences)}
    if not np.isfinite(max(differences)):
        raise ExportError(f"--format={kind} answers with other shapes or NaN.")
    if quantization == "none":
        if max(differences) > TOLERANCE:
            raise ExportError(
                f"--format={kind} differs from the encoder in memory by "
                f"{max(differences):.2g}, more than {TOLERANCE:g}."
            )
        return report
    cosines = _cosines(answers[len(images)], expected)
    return report | {
        "cosine_mean": float(cosines.mean()),
        "cosine_min": float(cosines.min()),
    }


def _cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.sum(x * y, axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)
