"""Latency of an exported encoder: signature, C session and Keras' predict.

Usage: python benchmarks/serving.py RUN VERSION_FOLDER

RUN is the work directory that VERSION_FOLDER (served/dim/1) was exported from. Prints
the median milliseconds of a call in one process for each way, as ratios to the
signature's, the throughput by batch size, and what loading and the first requests cost
in fresh processes, with and without the warm-up file. Needs gcc for the C session.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processor import print_processor

_FIRST_REQUESTS = """
import sys, time
import tensorflow as tf
from tf_infomax.export import replay
model, warm = sys.argv[1], sys.argv[2] == "warm"
started = time.perf_counter()
session, signatures = replay.load_session(model)
loaded = time.perf_counter()
requests = replay.read_requests(model + "/assets.extra/tf_serving_warmup_requests")
if warm:
    for request in requests:
        replay.answer(session, signatures, request)
one = requests[0]
times = [loaded - started]
for _ in range(2):
    started = time.perf_counter()
    replay.answer(session, signatures, one)
    times.append(time.perf_counter() - started)
print(*times)
"""


def time_calls(call, seconds: float = 2.0, least: int = 15) -> float:
    """Median seconds of a call, after three unmeasured ones."""
    for _ in range(3):
        call()
    times, ends = [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < ends:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def run_loader(program: Path, model: str, images, repeat: int) -> dict[str, float]:
    """Seconds of `load`, `first` run and `median` run by the C API."""
    import numpy as np

    from tf_infomax.export import replay

    spec = replay.load_session(model)[1]["serving_default"]
    feed, fetch = spec.inputs["images"].name, spec.outputs["embedding"].name
    file = program.with_name("images.npy")
    np.save(file, images)
    output = subprocess.run(
        [
            *(program, model, str(repeat), f"{feed}={file}", "--"),
            f"{fetch}={program.with_name('out.npy')}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {k: float(v) for k, v in map(str.split, output.splitlines())}


def main(run: str, model: str) -> None:
    import tf_infomax  # noqa: F401  (first: it switches oneDNN on)

    # isort: split
    import numpy as np
    import tensorflow as tf

    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from c_session import compile_program

    from tf_infomax.training.trained import load_trained
    from tf_infomax.training.workdir import WorkDirectory

    trained = load_trained(WorkDirectory(run))
    encoder, shape = trained.objective.encoder, trained.image_shape
    loaded = tf.saved_model.load(model)
    signature = loaded.signatures["serving_default"]
    folder = Path(tempfile.mkdtemp())
    program = compile_program(folder)

    def make(size):
        return np.random.default_rng(0).integers(0, 256, (size, *shape), np.uint8)

    print_processor()
    print("| ms per call | batch 1 | ratio | batch 64 | ratio |\n|---|---|---|---|---|")
    rows: dict[str, list[float]] = {}
    for size in (1, 64):
        images = make(size)
        tensor = tf.constant(images)
        compiled = tf.function(lambda x: encoder(x, training=False)["code"])
        session = run_loader(program, model, images, 200 if size == 1 else 40)
        ways = {
            "signature": lambda x=tensor: signature(images=x)["embedding"].numpy(),
            "C session": session["median"],
            "tf.function of the encoder": lambda x=tensor, f=compiled: f(x).numpy(),
            "encoder, eager": lambda x=tensor: encoder(x, training=False)["code"],
            "Keras predict": lambda x=images: encoder.predict(x, verbose=0),
        }
        for name, way in ways.items():
            rows.setdefault(name, []).append(
                way if isinstance(way, float) else time_calls(way)
            )
    for name, (one, many) in rows.items():
        base = rows["signature"]
        print(
            f"| {name} | {1e3 * one:.2f} | {one / base[0]:.1f} "
            f"| {1e3 * many:.1f} | {many / base[1]:.2f} |"
        )
    print("\n| images in a request | ms | images/s |\n|---|---|---|")
    for size in (1, 8, 32, 64, 256):
        tensor = tf.constant(make(size))
        seconds = time_calls(lambda x=tensor: signature(images=x)["embedding"].numpy())
        print(f"| {size} | {1e3 * seconds:.2f} | {size / seconds:.0f} |")
    print("\n| fresh process | load, s | first request, ms | second, ms |")
    print("|---|---|---|---|")
    cold = run_loader(program, model, make(1), 1)
    print(
        f"| C session | {cold['load']:.2f} | {1e3 * cold['first']:.1f} "
        f"| {1e3 * cold['median']:.1f} |"
    )
    for kind in ("cold", "warm"):
        times = [
            [
                float(each)
                for each in subprocess.run(
                    [sys.executable, "-c", _FIRST_REQUESTS, model, kind],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.split()
            ]
            for _ in range(3)
        ]
        load, first, second = (
            statistics.median(each) for each in zip(*times, strict=True)
        )
        print(
            f"| session, warm-up {'replayed' if kind == 'warm' else 'left out'} "
            f"| {load:.2f} | {1e3 * first:.1f} | {1e3 * second:.1f} |"
        )
    shutil.rmtree(folder)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
