"""The flagfiles of the paper's data sets, tried on random images of their shapes.

Usage: python benchmarks/paper_settings.py [--steps=6] [--only=NAME,...] [--flag=V ...]

Trains each for a few steps and evaluates it as the flagfile says, on `IMAGES` random
images in place of each part of the data set, and prints a Markdown table: parameters,
time of a step and images/s once it is compiled, the largest memory of the process. What
comes out of the probes means nothing.
"""

import argparse
import itertools
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from processor import print_processor
from runs import run_variant

NAMES = (
    "dim_cifar10", "dim_cifar100", "dim_stl10", "dim_stl10_places", "dim_tiny_imagenet",
)  # fmt: skip
IMAGES, CLASSES, SIDE = 1200, 10, 64
BATCH = 64  # of all


def draw_folder(folder: Path) -> None:
    """Pictures in folders of folders, as Tiny ImageNet has them."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        inside = folder / f"n{label:08d}" / "images"
        inside.mkdir(parents=True)
        for number in range(IMAGES // CLASSES):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(inside / f"{number}.jpeg")


def train(name: str, steps: int, flags: list[str]) -> None:
    """One run in this process; prints what was measured as JSON in the last line."""
    import keras
    import tensorflow_datasets as tfds

    from tf_infomax.options import command
    from tf_infomax.train import main as start
    from tf_infomax.training import run as training

    ends, found = [], {}
    kept = training.Keeper.on_train_batch_end

    def note(self, *arguments, **keywords):
        ends.append(time.perf_counter())
        found["parameters"] = self.model.encoder.count_params()
        return kept(self, *arguments, **keywords)

    training.Keeper.on_train_batch_end = note
    with tempfile.TemporaryDirectory() as made:
        given = [f"--flagfile=configs/{name}.flags", f"--workdir={made}/run"]
        given += ["--epochs=0", f"--steps={steps}"]
        if name == "dim_tiny_imagenet":
            draw_folder(Path(made) / "images")
            given.append(f"--dataset=folder:{made}/images")
        else:
            given.append("--download")  # which is mocked
        sys.argv = [name, *given, *flags]
        with tfds.testing.mock_data(num_examples=IMAGES):
            try:
                command.run(start, name, "")
            except SystemExit as end:
                if end.code:
                    raise
        results = json.loads((Path(made) / "run" / "results.json").read_text())
    keras.backend.clear_session()
    durations = [b - a for a, b in itertools.pairwise(ends)]
    found["ms"] = 1e3 * statistics.median(durations)
    found["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found["results"] = len(results)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options, flags = parser.parse_known_args()
    if options.one:
        train(options.one, options.steps, flags)
        return
    print_processor()
    print("| flagfile | parameters of the encoder | ms a step | images/s | GiB |")
    print("|---|---|---|---|---|")
    for name in options.only.split(","):
        given = (f"--steps={options.steps}", *flags)
        row = run_variant(sys.executable, __file__, name, *given)
        speed = BATCH / row["ms"] * 1e3
        print(
            f"| `{name}` | {row['parameters']:,} | {row['ms']:.0f} | {speed:.0f} | "
            f"{row['gib']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
