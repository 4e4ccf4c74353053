"""Answers recorded requests by a SavedModel's session, as TensorFlow Serving does.

Usage: python replay.py SAVED_MODEL ANSWERS REQUESTS ...

REQUESTS are TFRecord files of `PredictionLog`s, the form of warm-up files; ANSWERS
becomes an `.npz` with an array `k/name` for each output of the k-th request of all.
Run in a process of its own, it shows that the model needs neither this package nor
Keras: both are made unavailable before TensorFlow is imported.
"""

import sys

if __name__ == "__main__":
    sys.modules["keras"] = sys.modules["tf_infomax"] = None

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2


def read_requests(path: str) -> list:
    """The predict requests of a file of `PredictionLog`s."""
    records = tf.data.TFRecordDataset(path).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(each) for each in records]
    return [log.predict_log.request for log in logs]


def load_session(path: str) -> tuple[tf.compat.v1.Session, dict]:
    """A session with the model's variables restored, and its signatures."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    return session, graph.signature_def


def answer(session, signatures, request) -> dict[str, np.ndarray]:
    """All outputs of one request, by name."""
    signature = signatures[request.model_spec.signature_name]
    outputs = {name: info.name for name, info in signature.outputs.items()}
    feed = {
        signature.inputs[name].name: tf.make_ndarray(value)
        for name, value in request.inputs.items()
    }
    return session.run(outputs, feed)


def main(model: str, answers: str, *files: str) -> None:
    session, signatures = load_session(model)
    arrays = {}
    requests = (request for file in files for request in read_requests(file))
    for k, request in enumerate(requests):
        try:
            outputs = answer(session, signatures, request)
        except tf.errors.OpError as error:
            name = request.model_spec.signature_name
            reason = " ".join(error.message.split())
            raise SystemExit(f"request {k}, signature {name}: {reason}") from error
        for name, value in outputs.items():
            # Strings as fixed-width text: object arrays would be pickled.
            arrays[f"{k}/{name}"] = value.astype("U") if value.dtype == "O" else value
    np.savez(answers, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
