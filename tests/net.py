"""Whether a change leaves every bit of training as it was: a net under rebuilding.

Usage: python tests/net.py record FILE [--only=NAME,...]
       python tests/net.py check FILE [--only=NAME,...]

Each case trains three deterministic steps from the command line, with checkpoints and
an evaluation without probes. Kept are SHA-256 of every array of the last checkpoint
(whatever it is called) and of the rows of metrics.jsonl, and the results; what is new
among the results is no change. It all holds for one processor and one version of the
libraries: record before a change, check after it, on the same machine.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

_DIM = ("--encoder=basic32x32", "--critic_units=16", "--code_size=16")
_MULTIVIEW = ("--objective=multiview", "--code_size=16")
_MEMORY = (
    *_MULTIVIEW, "--views=color", "--view_critic=cosine", "--negatives=memory",
)  # fmt: skip
_HALVES = (*_MULTIVIEW, "--views=halves", "--encoder=mlp")
_CPC = ("--objective=cpc", "--encoder=cpc", "--code_size=16")
_GLOBAL = ("--objective=dim_global", "--prior=normal")
CASES = {
    "dim_local": _DIM,
    "dim_local_jsd": (*_DIM, "--bound=jsd", "--local_critic=concat_and_convolve"),
    "dim_local_same": (*_DIM, "--bound=dv", "--negatives=same_location"),
    "dim_global": (*_DIM, *_GLOBAL, "--bound=jsd"),
    "dim_global_dot": (*_DIM, *_GLOBAL, "--global_critic=global_dot"),
    "dim_local_global": (*_DIM, "--objective=dim_local_global"),
    "dim_augment": (*_DIM, "--views=augment", "--augment=crop,flip,color"),
    "multiview": _HALVES,
    "multiview_prior": (*_HALVES, "--gamma=0.1", "--view_encoders=shared"),
    "multiview_hard": (*_HALVES, "--negatives=hard", "--hard_negatives=3"),
    "multiview_weighted": (*_HALVES, "--negatives=weighted", "--hardness=0.5"),
    "multiview_derangement": (
        *_MULTIVIEW, "--views=quadrants", "--view_graph=full", "--encoder=mlp",
        "--negatives=derangement", "--view_critic=concatenated", "--bound=nwj",
        "--target=1",
    ),
    "cmc": (*_MULTIVIEW, "--views=color", "--view_critic=cosine"),
    "memory": _MEMORY,
    "memory_nce": (*_MEMORY, "--memory_loss=nce", "--ema=0.9"),
    "cpc": _CPC,
    "cpc_same_image": (*_CPC, "--negatives=same_image"),
    "ema": (*_DIM, "--ema=0.9", "--schedule=cosine", "--clip_norm=1"),
    "bfloat16": (*_DIM, "--mixed_precision=bfloat16"),
    "float16": (*_DIM, "--mixed_precision=float16"),
    "three_per_call": (*_DIM, "--steps_per_execution=3"),
}  # fmt: skip
_COMMON = (
    "--steps=3", "--batch_size=16", "--deterministic", "--probes=",
    "--progress=none", "--checkpoint_every=1", "--seed=5",
)  # fmt: skip
_CLOCKS = ("seconds",)


def write_images(path: Path) -> None:
    """120 images of two classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    images = rng.integers(0, 156, (120, 32, 32, 3)) + 100 * labels[:, None, None, None]
    np.savez(path, images=images.astype(np.uint8), labels=labels)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _train(flags: tuple[str, ...], data: Path, workdir: Path) -> dict:
    command = [
        sys.executable, "-m", "tf_infomax.train", f"--dataset=arrays:{data}",
        f"--workdir={workdir}", *_COMMON, *flags,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(flags)}: {done.stderr}")
    with np.load(workdir / "checkpoints" / "last.npz") as arrays:
        kept = [arrays[name] for name in arrays.files if name not in ("state", "seal")]
    hashes = sorted(_hash(f"{a.dtype}{a.shape}".encode() + a.tobytes()) for a in kept)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = [
        {name: value for name, value in json.loads(line).items() if name not in _CLOCKS}
        for line in lines
    ]
    results = json.loads((workdir / "results.json").read_text())
    return {
        "arrays": _hash("".join(hashes).encode()),
        "rows": _hash(json.dumps(rows, sort_keys=True).encode()),
        **{
            f"{name}: {fact}": value
            for name, result in results.items()
            if "/" in name
            for fact, value in result.items()
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("record", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default=",".join(CASES))
    given = parser.parse_args()
    names, found, wrong = given.only.split(","), {}, 0
    before = json.loads(given.file.read_text()) if given.what == "check" else {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        write_images(data)
        for name in names:
            found[name] = _train(CASES[name], data, Path(folder) / name)
            moved = [
                k for k, v in before.get(name, {}).items() if found[name].get(k) != v
            ]
            wrong += bool(moved)
            print(f"{name}: {', '.join(moved) + ' moved' if moved else 'ok'}")
    if given.what == "record":
        given.file.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
