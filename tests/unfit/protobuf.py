"""Messages of TensorFlow Serving by hand, good ones and such of another form."""

import numpy as np

from unfit.case import HOSTILE, ROWS, TRUTH, D, pick


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a protobuf message, a number or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape_of(*axes: int) -> bytes:
    return b"".join(field(2, field(1, int(axis))) for axis in axes)


def spec_of(model: str, signature: str = "", version: int = 1) -> bytes:
    number = field(2, field(1, version))
    return field(1, model) + number + field(3, signature)


def answer_of(*parts: bytes, model: str, signature: str, key="embedding") -> bytes:
    """A PredictResponse of one tensor."""
    tensor = b"".join(parts)
    spec = spec_of(model, signature)
    return field(1, field(1, key) + field(2, tensor)) + field(2, spec)


def floats(array) -> bytes:
    return np.asarray(array, "<f4").tobytes()


def good_message(stage: str, model: str) -> bytes:
    """The answer of a server that is well."""
    if stage == "status":
        return field(1, field(1, 1) + field(2, 30) + field(3, b""))
    if stage != "metadata":
        rows = 1 if stage == "probe" else ROWS
        signature = "serving_default" if stage == "probe" else "encoded"
        tensor = (
            field(1, 1) + field(2, shape_of(rows, D)) + field(5, floats(TRUTH[:rows]))
        )
        return answer_of(tensor, model=model, signature=signature)

    def tensor(dtype, *axes):
        return field(2, field(2, dtype) + field(3, shape_of(*axes)))

    def signature(name, key, info):
        inputs = field(1, field(1, key) + info)
        outputs = field(2, field(1, "embedding") + tensor(1, -1, D))
        return field(1, field(1, name) + field(2, inputs + outputs))

    signatures = signature("serving_default", "images", tensor(4, -1, 4, 4, 3))
    signatures += signature("encoded", "image_bytes", tensor(7, -1))
    url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    packed = field(1, url) + field(2, signatures)
    entry = field(1, "signature_def") + field(2, packed)
    return field(1, spec_of(model)) + field(2, entry)


def odd_tensor(rng, model: str) -> bytes:
    """A PredictResponse that is sound but for what it says."""
    rows, width = pick(
        rng, [(1, D), (9, D), (0, D), (ROWS, D + 1), (ROWS, 0), (D, ROWS)]
    )
    whole = field(5, floats(TRUTH))
    right = shape_of(ROWS, D)
    bad = pick(rng, [np.nan, np.inf, -np.inf])
    odd = np.where(rng.random((ROWS, D)) < 0.2, bad, TRUTH)
    odd[0, 0] = bad
    tensors = [
        (1, shape_of(rows, width), field(5, floats(np.ones((rows, width))))),
        (1, shape_of(rows, width), field(4, floats(np.ones((rows, width))))),
        (1, shape_of(rows, width), whole),
        (1, right, field(5, floats(odd))),
        (1, right, field(4, floats(odd))),
        (1, right, field(5, floats(TRUTH)[: 4 * rng.integers(ROWS * D)])),
        (1, right, field(4, floats(TRUTH)[: rng.integers(4 * ROWS * D)])),
        (1, right, field(4, floats(TRUTH) * 2)),
        (1, right, field(5, floats(TRUTH) + b"\0\0")),
        (1, right, field(6, TRUTH.astype("<f8").tobytes())),
        (2, right, field(6, TRUTH.astype("<f8").tobytes())),
        (3, right, field(7, bytes(range(12)))),
        (7, right, field(8, "x") * (ROWS * D)),
        (int(rng.integers(8, 200)), right, whole),
        (1, shape_of(2**31, 2**31), field(5, floats([1]))),
        (1, shape_of(ROWS, 10**9), field(5, floats([1]))),
        (1, shape_of(-1, D), whole),
        (1, shape_of(-ROWS, -D), whole),
        (1, shape_of(ROWS, D, 1), whole),
        (1, shape_of(ROWS * D), whole),
        (1, shape_of(*[1] * 5000, ROWS, D), whole),
        (1, right + field(3, 1), whole),
        (1, b"", whole),
        (1, right, b""),
    ]  # fmt: skip
    dtype, shape, values = pick(rng, tensors)
    tensor = field(1, dtype) + field(2, shape) + values
    return answer_of(tensor, model=model, signature="encoded")


def odd_answer(rng, model: str) -> bytes:
    """A PredictResponse of another model, version, signature or output."""
    tensor = field(1, 1) + field(2, shape_of(ROWS, D)) + field(5, floats(TRUTH))
    make = lambda **changed: answer_of(
        tensor, **{"model": model, "signature": "encoded"} | changed
    )
    return pick(rng, [
        make(model="another"), make(signature="serving_default"), make(key="code"),
        make(key=HOSTILE), make() + field(1, field(1, "more") + field(2, tensor)),
        make() + field(2, spec_of(model, "encoded", 2)), b"", make()[:-9],
        field(1, b"") * 10_000, rng.bytes(int(rng.integers(1, 500))),
    ])  # fmt: skip


def flipped(rng, message: bytes) -> bytes:
    raw = bytearray(message)
    for _ in range(rng.integers(1, 4)):
        raw[rng.integers(len(raw))] = rng.integers(256)
    return bytes(raw)


def spliced(rng, message: bytes) -> bytes:
    a, b = np.sort(rng.integers(0, len(message) + 1, 2))
    return message[:a] + pick(rng, [b"", message[a:b] * 2, rng.bytes(5)]) + message[b:]


def read_messages(messages: list[bytes]) -> list[np.ndarray | None]:
    """The embeddings of answers by TensorFlow's own reader, as by `read_json`."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    def read(message):
        try:
            answer = predict_pb2.PredictResponse.FromString(message)
            return tf.make_ndarray(answer.outputs["embedding"])
        except Exception:
            return None

    return [read(message) for message in messages]
