"""RealNVP's step and the Jacobian spectrum against their matrix products alone.

Usage: python benchmarks/invertible.py [--couplings=30] [--width=512] [--rounds=3]

The step: one RealNVP of 392 dimensions, forward and backward at batch 128. The
spectrum: all singular values of the 392 x 392 Jacobians of 128 inputs, of a RealNVP and
of the five-layer skip MLP. Beside each stand the matrix products that it cannot do
without, of the same shapes in the same order, and for the spectrum the decomposition
(numpy). A RealNVP's Jacobian is put together from those of its networks, with fewer
products than differentiating the whole map takes: both are printed. Everything takes
turns in one process; medians are printed. Nothing else should run on the machine.
"""

import argparse
import statistics
import time

import numpy as np
import tensorflow as tf
from processor import print_processor

import tf_infomax  # noqa: F401  switches the processor's kernels on
from tf_infomax import encoders
from tf_infomax.evaluation.jacobian import JacobianSpectrum

SIZE, BATCH, CHUNK = 392, 128, 16


def make_step(layer, x, **options):
    """Sums of all gradients of sum y^2: nothing is left out as unused."""

    @tf.function(**options)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer(x)))
        gradients = tape.gradient(loss, [v.value for v in layer.trainable_variables])
        return [gradient[0] for gradient in gradients]

    return step


def make_products(kernels, rows: int, with_weights: bool):
    """Forward, and backward to the inputs (and to the kernels), layer by layer."""
    x = tf.random.normal([rows, kernels[0].shape[0]])

    @tf.function
    def run():
        inputs, h = [], x
        for kernel in kernels:
            inputs.append(h)
            h = tf.matmul(h[:, : kernel.shape[0]], kernel)
        found, g = [], h
        for kernel, given in zip(reversed(kernels), reversed(inputs), strict=True):
            g = g[:, : kernel.shape[1]]
            if with_weights:
                given = given[:, : kernel.shape[0]]
                found.append(tf.matmul(given, g, transpose_a=True)[0])
            g = tf.matmul(g, kernel, transpose_b=True)
        return [*found, g[0]]

    return run


def make_backward_products(kernels, rows: int):
    """Backward to the inputs alone, for rows output directions."""
    g = tf.random.normal([rows, kernels[-1].shape[1]])

    @tf.function
    def run(g):
        for kernel in reversed(kernels):
            g = tf.matmul(g[:, : kernel.shape[1]], kernel, transpose_b=True)
        return g[0]

    return lambda: [run(g) for _ in range(BATCH // CHUNK)]


def make_coupling_products(kernels):
    """Each network's Jacobian, and that by the Jacobian of what came before it."""
    half = SIZE // 2
    rows = tf.random.normal([CHUNK, half, SIZE])

    @tf.function
    def run(rows):
        for first, *others in zip(*[iter(kernels)] * 3, strict=True):
            change = tf.repeat(first, CHUNK, axis=0)
            for kernel in others:
                change = tf.matmul(change, kernel)
            change = tf.reshape(change, [CHUNK, half, half])
            rows = tf.matmul(change, rows, transpose_a=True)
        return rows[0]

    return lambda: [run(rows) for _ in range(BATCH // CHUNK)]


def measure(functions: dict, rounds: int) -> dict[str, float]:
    """Median milliseconds of each, in turns, after one call of each."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            tf.nest.map_structure(np.asarray, function())
            if number:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--couplings", type=int, default=30)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print_processor()

    x = np.random.default_rng(0).uniform(size=(BATCH, SIZE)).astype(np.float32)
    layer = encoders.RealNVP(given.couplings, (given.width,) * 2)
    layer.build((None, SIZE))
    kernels = [v.value for v in layer.trainable_variables if len(v.shape) == 2]
    held = tf.constant(x)
    rows = measure(
        {
            "products": make_products(kernels, BATCH, True),
            "step": make_step(layer, held),
            "step, XLA": make_step(layer, held, jit_compile=True),
        },
        5 * given.rounds,
    )
    print(f"RealNVP, {given.couplings} couplings of {given.width}, batch {BATCH}:")
    for name, value in rows.items():
        print(f"  {name:12} {value:8.1f} ms  {value / rows['products']:.2f} x products")

    skip = encoders.strip_scaling(encoders.build_skip_mlp((14, 28, 1)))
    for name, encoder, inputs in (
        ("RealNVP", layer, x),
        ("skip MLP", skip, x.reshape(BATCH, 14, 28, 1)),
    ):
        kernels = [v.value for v in encoder.trainable_variables if len(v.shape) == 2]
        matrices = np.random.default_rng(0).normal(size=(BATCH, SIZE, SIZE))
        products = {"products": make_backward_products(kernels, CHUNK * SIZE)}
        if encoder is layer:
            products["fewest products"] = make_coupling_products(kernels)
        rows = measure(
            {
                **products,
                "decomposition": lambda m=matrices: np.linalg.svd(m, compute_uv=False),
                "spectrum": lambda s=JacobianSpectrum(encoder), v=inputs: s(v),
            },
            given.rounds,
        )
        print(f"Spectrum of {name}, {BATCH} inputs:")
        for what, value in rows.items():
            print(f"  {what:15} {value / 1e3:6.2f} s")
        for what in products:
            ratio = rows["spectrum"] / (rows[what] + rows["decomposition"])
            print(f"  {ratio:.2f} x {what} and decomposition")


if __name__ == "__main__":
    main()
