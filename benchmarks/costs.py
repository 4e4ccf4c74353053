"""What a run costs beside its arithmetic: start-up, input pipeline, memory of InfoNCE.

Usage: python benchmarks/costs.py [startup] [pipeline] [memory]

* startup: from the start of `python -m tf_infomax.train --flagfile=configs/dim.flags`
  to the end of its first step, against `import tensorflow` in a process of its own plus
  the time that tracing and compiling the step take within the run;
* pipeline: seconds of processor time per batch of the input pipeline, against a step;
* memory: growth of the process by the local InfoNCE with its gradient, N images and
  L = 64 locations, against the N^2 L float32 scores and against the (N L)^2 logits
  that it does not make.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

from processor import print_processor

ROUNDS = 5

_STARTUP = """
import sys, time
from tf_infomax.options import command, flags
from tf_infomax.training import run as training
original, begun = training.Keeper.on_train_batch_end, []
training.Keeper.on_epoch_begin = lambda self, *a, **k: begun.append(time.time())
def end(self, *arguments, **keywords):
    print("first", time.time(), begun[0], flush=True)
    import os; os._exit(0)
training.Keeper.on_train_batch_end = end
from tf_infomax.train import main
sys.argv[0] = "train"
command.run(main, "train", "")
"""

_PIPELINE = """
import time, tf_infomax, numpy as np
from tf_infomax.data.batches import make_batches
images = np.random.default_rng(0).integers(0, 256, (10000, 32, 32, 3), np.uint8)
everything = ("crop", "shift", "flip", "color", "grey", "cutout")
for names in ((), ("shift", "flip"), everything):
    batches = iter(make_batches(images, 64, 0, 400, augmentations=names))
    next(batches)
    started = time.process_time()
    for _ in batches:
        pass
    print(",".join(names) or "none", (time.process_time() - started) / 399)
"""

_STEP = """
import time, tf_infomax, numpy as np
from tf_infomax.training import experiment
from tf_infomax.options import command, flags
from pathlib import Path
config = flags.read_flagfile(Path("configs/dim.flags"))
import tensorflow as tf
objective = experiment.build_objective(config, (32, 32, 3), 100)
batch = {"x": tf.zeros((64, 32, 32, 3), tf.uint8)}
step = tf.function(objective.train_step)
for _ in range(5):
    step(batch)
started = time.process_time()
for _ in range(20):
    float(step(batch)["loss"])
print((time.process_time() - started) / 20)
"""

_MEMORY = """
import sys, tf_infomax, tensorflow as tf
from tf_infomax import bounds
from tf_infomax.critics import InnerProduct
n, locations = int(sys.argv[1]), 64
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(l.split()[1]) for l in lines if l.startswith("VmHWM")) * 1024
@tf.function
def run(x, y):
    with tf.GradientTape() as tape:
        tape.watch((x, y))
        scores = InnerProduct().score(x, y)
        value = tf.reduce_mean(bounds.info_nce(scores, "x", pooled=True))
    return tape.gradient(value, [x, y])
def inputs(n):
    return tf.random.normal((n, locations, 64)), tf.random.normal((n, 64))
run(*inputs(8))
pair = inputs(n)
before = peak()
run(*pair)
print(peak() - before)
"""


def execute(code: str, *arguments: str) -> str:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    if result.returncode:
        sys.exit(result.stderr[-2000:])
    return result.stdout


def startup() -> None:
    ratios, rows = [], []
    for _ in range(ROUNDS):
        started = time.time()
        execute("import tensorflow")
        imported = time.time() - started
        with tempfile.TemporaryDirectory() as folder:
            flagfile = "--flagfile=configs/dim.flags"
            started = time.time()
            output = execute(_STARTUP, flagfile, f"--workdir={folder}/run")
        ended, begun = map(float, output.split("first ")[1].split())
        rows.append((imported, ended - begun, ended - started))
        ratios.append((ended - started) / (imported + ended - begun))
    columns = [statistics.median(column) for column in zip(*rows, strict=True)]
    print(
        "startup: import tensorflow {:.2f} s, first step with graph building {:.2f} s, "
        "command to first step {:.2f} s".format(*columns)
        + f", ratio {statistics.median(ratios):.2f} (medians of {ROUNDS})"
    )


def pipeline() -> None:
    step = statistics.median(float(execute(_STEP)) for _ in range(3))
    for line in execute(_PIPELINE).splitlines():
        names, seconds = line.split()
        share = float(seconds) / step
        print(
            f"pipeline, augmentation {names}: {1e3 * float(seconds):.2f} ms of ", end=""
        )
        print(f"processor time per batch, {share:.1%} of a step ({1e3 * step:.0f} ms)")


def memory() -> None:
    print(f"{'N':>6}{'growth MB':>11}{'scores MB':>11}{'ratio':>7}  (N L)^2 MB")
    for n in (64, 128, 256, 512, 1024):
        growth = int(execute(_MEMORY, str(n)))
        scores, logits = 4 * n * n * 64, 4 * (n * 64) ** 2
        row = f"{n:6}{growth / 1e6:11.0f}{scores / 1e6:11.0f}{growth / scores:7.1f}"
        print(f"{row}{logits / 1e6:12.0f}")


if __name__ == "__main__":
    print_processor()
    for name in sys.argv[1:] or ("startup", "pipeline", "memory"):
        {"startup": startup, "pipeline": pipeline, "memory": memory}[name]()
