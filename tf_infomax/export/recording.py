"""Recorded predict requests: TFRecord files of `PredictionLog`s, like warm-up files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_infomax.export.signatures import Signature

WARMUP_SIZES = (1, 8, 32, 64)  # also the batch sizes that the server may form


def write_requests(
    path: Path,
    model: str,
    signatures: dict[str, Signature],
    images: np.ndarray,
    sizes: Iterable[int],
) -> list[tuple[str, int]]:
    """Writes one request per signature and batch size; their (signature, size)."""
    from tensorflow_serving.apis import (
        model_pb2,
        predict_pb2,
        prediction_log_pb2,
    )

    written = []
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in signatures.items():
            arrays = signature.request(images)
            for size in sizes:
                inputs = {
                    key: tf.make_tensor_proto(array[:size], dtype=spec.dtype)
                    for (key, array), spec in zip(
                        arrays.items(), signature.inputs, strict=True
                    )
                }
                spec = model_pb2.ModelSpec(name=model, signature_name=name)
                request = predict_pb2.PredictRequest(model_spec=spec, inputs=inputs)
                log = prediction_log_pb2.PredictLog(request=request)
                record = prediction_log_pb2.PredictionLog(predict_log=log)
                writer.write(record.SerializeToString())
                written.append((name, size))
    return written
