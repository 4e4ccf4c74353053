"""Seconds per training step of other objectives, side by side with PyTorch.

Usage: python benchmarks/objectives.py [--rounds=5] [--torch=PYTHON] [--only=PATTERN]

The steps: `basic32x32` with labels, as a VAE with the decoder that mirrors it, and as a
BiGAN with its discriminator of pairs, without and with a gradient penalty; Adam, batch
64. PyTorch (`--torch` names a Python that has it) runs the same arithmetic eagerly,
written here, without the values that ours reports beside the losses; of a BiGAN, too,
it judges each pair once and takes two gradients of that. Every variant runs in a
process of its own, the processes take turns. Printed are medians over the rounds of
wall and of processor time (all threads) per step: on a busy machine only the second
tells anything.
"""

import argparse
import itertools
import json
import os
import re
import statistics
import sys
import time

from processor import print_processor
from runs import run_variant

N, SIDE, CODE, CLASSES = 64, 32, 64, 10
WARMUP, STEPS = 4, 16
PENALTY = 0.5
TASKS = ("supervised", "vae", "bigan", "bigan, penalty")
VARIANTS = {
    f"{framework} {task}{', XLA' if jit else ''}": (framework, task, jit)
    for task in TASKS
    for framework, jit in (("tf", False), ("tf", True), ("torch", False))
}


def make_batch():
    """uint8 images and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, SIDE, SIDE, 3), np.uint8)
    return images, rng.integers(0, CLASSES, N)


def measure(call) -> tuple[float, float]:
    """Wall and processor seconds per call, after a warm-up: median, and mean."""
    for _ in range(WARMUP):
        call()
    walls, processor = [], time.process_time()
    for _ in range(STEPS):
        started = time.perf_counter()
        call()
        walls.append(time.perf_counter() - started)
    return statistics.median(walls), (time.process_time() - processor) / STEPS


def build_tf(task: str):
    """The library's objective."""
    from tf_infomax import encoders
    from tf_infomax.objectives.autoencoder import build_vae
    from tf_infomax.objectives.bigan import build_bigan
    from tf_infomax.objectives.supervised import build_supervised

    shape = (SIDE, SIDE, 3)
    encoder = encoders.build_convnet("basic32x32", shape, CODE)
    if task == "supervised":
        return build_supervised(encoder, CLASSES)
    decoder = encoders.build_decoder("basic32x32", shape, CODE)
    if task == "vae":
        return build_vae(encoder, decoder)
    discriminator = encoders.build_pair_discriminator("basic32x32", shape, CODE)
    penalty = PENALTY if "penalty" in task else 0.0
    return build_bigan(encoder, decoder, discriminator, gradient_penalty=penalty)


def run_tf(task: str, jit: bool) -> tuple[float, float]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tf_infomax.options import command

    command.load_tensorflow()
    import keras
    import tensorflow as tf

    from tf_infomax.optimizers import FusedAdam

    keras.utils.set_random_seed(0)
    objective = build_tf(task)
    objective.compile({player: FusedAdam(1e-4) for player in objective.players})
    images, labels = (tf.constant(each) for each in make_batch())
    batch = {"x": images, "label": labels} if task == "supervised" else {"x": images}
    step = tf.function(lambda: objective.train_step(batch)["loss"], jit_compile=jit)
    return measure(lambda: float(step()))


def run_torch(task: str, jit: bool) -> tuple[float, float]:
    """The same arithmetic in PyTorch, channels last as its convolutions like it."""
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    torch.manual_seed(0)
    widths = (3, 64, 128, 256)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            layers = []
            for a, b in itertools.pairwise(widths):
                conv = nn.Conv2d(a, b, 4, 2, 1, bias=False)
                layers += [conv, nn.BatchNorm2d(b), nn.ReLU()]
            self.maps = nn.Sequential(*layers)
            hidden = nn.Linear(4096, 1024, bias=False), nn.BatchNorm1d(1024), nn.ReLU()
            self.hidden = nn.Sequential(*hidden)
            self.code = nn.Linear(1024, CODE)

        def forward(self, images):
            fc = self.hidden(self.maps(images).flatten(1))
            return fc, self.code(fc)

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Sequential(
                nn.Linear(CODE, 1024, bias=False),
                nn.BatchNorm1d(1024),
                nn.ReLU(),
                nn.Linear(1024, 4096, bias=False),
            )
            layers = [nn.BatchNorm2d(256), nn.ReLU()]
            for a, b in itertools.pairwise(widths[:0:-1]):
                conv = nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)
                layers += [conv, nn.BatchNorm2d(b), nn.ReLU()]
            self.maps = nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1))

        def forward(self, code):
            top = self.hidden(code).view(-1, 256, 4, 4)
            top = top.contiguous(memory_format=torch.channels_last)
            return torch.sigmoid(self.maps(top))

    class Discriminator(nn.Module):
        def __init__(self):
            super().__init__()
            layers = []
            for a, b in itertools.pairwise(widths):
                layers += [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2)]
            image_side = nn.Flatten(), nn.Linear(4096, 256), nn.LeakyReLU(0.2)
            self.image_side = nn.Sequential(*layers, *image_side)
            self.code_side = nn.Sequential(nn.Linear(CODE, 256), nn.LeakyReLU(0.2))
            self.joint = nn.Sequential(
                nn.Linear(512, 512),
                nn.LeakyReLU(0.2),
                nn.Linear(512, 128),
                nn.LeakyReLU(0.2),
                nn.Linear(128, 1),
            )

        def forward(self, images, codes):
            sides = self.image_side(2 * images - 1), self.code_side(codes)
            return self.joint(torch.cat(sides, 1))[:, 0]

    def last(module):
        return module.to(memory_format=torch.channels_last)

    def scale(images):
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return x.contiguous(memory_format=torch.channels_last)

    raw, labels = make_batch()
    labels = torch.from_numpy(labels)
    encoder, decoder = last(Encoder()), last(Decoder())
    head, spread = nn.Linear(CODE, CLASSES), nn.Linear(1024, CODE)

    def lose_supervised():
        logits = head(torch.relu(encoder(2 * scale(raw) - 1)[1]))
        return F.cross_entropy(logits, labels)

    def lose_vae():
        x = scale(raw)
        fc, mean = encoder(2 * x - 1)
        log_variance = spread(fc)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        error = 4 * (x - decoder(z)).square().sum() / N
        kl = mean.square() + torch.expm1(log_variance) - log_variance
        return error + 0.5 * kl.sum() / N

    def train(lose, *modules):
        parameters = [p for m in modules for p in m.parameters()]
        optimizer = torch.optim.Adam(parameters, 1e-4)

        def call():
            optimizer.zero_grad(set_to_none=True)
            loss = lose()
            loss.backward()
            optimizer.step()
            return loss.item()

        return call

    def play():
        judge = last(Discriminator())
        makers = [*encoder.parameters(), *decoder.parameters()]
        players = makers, list(judge.parameters())
        optimizers = [torch.optim.Adam(p, 1e-4) for p in players]

        def judge_pairs(images, codes):
            if "penalty" not in task:
                return judge(images, codes), 0.0
            inputs = [each.requires_grad_() for each in (images, codes)]
            logits = judge(*inputs)
            found = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
            return logits, sum(g.square().sum() for g in found) / N

        def call():
            x = scale(raw)
            code, z = encoder(2 * x - 1)[1], torch.randn(N, CODE)
            real, real_squares = judge_pairs(x, code)
            fake, fake_squares = judge_pairs(decoder(z), z)
            judged = F.softplus(-real).mean() + F.softplus(fake).mean()
            judged = judged + 0.5 * PENALTY * (real_squares + fake_squares)
            fooled = F.softplus(real).mean() + F.softplus(-fake).mean()
            losses = (fooled, True), (judged, False)
            gradients = [
                torch.autograd.grad(loss, p, retain_graph=keep)
                for (loss, keep), p in zip(losses, players, strict=True)
            ]
            for own, mine, optimizer in zip(
                players, gradients, optimizers, strict=True
            ):
                for parameter, gradient in zip(own, mine, strict=True):
                    parameter.grad = gradient
                optimizer.step()
            return fooled.item()

        return call

    if task == "supervised":
        return measure(train(lose_supervised, encoder, head))
    if task == "vae":
        return measure(train(lose_vae, encoder, spread, decoder))
    return measure(play())


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    medians = {
        name: [1e3 * statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in found.items()
    }
    print(
        f"\nbatch {N}, medians of {len(next(iter(found.values())))}\n"
        f"{'variant':26}{'wall ms':>9}{'cpu ms':>9}{'wall vs torch':>15}"
        f"{'cpu vs torch':>14}"
    )
    for name, (wall, processor) in medians.items():
        _, task, _ = VARIANTS[name]
        there = medians.get(f"torch {task}")
        ratios = f"{there[0] / wall:15.2f}{there[1] / processor:14.2f}" if there else ""
        print(f"{name:26}{wall:9.1f}{processor:9.1f}{ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes per variant")
    parser.add_argument("--torch", default=sys.executable, help="Python with PyTorch")
    parser.add_argument("--only", default="", help="variants whose name matches")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        framework, task, jit = VARIANTS[options.one]
        run = run_tf if framework == "tf" else run_torch
        print(json.dumps(run(task, jit)))
        return
    print_processor()
    names = [name for name in VARIANTS if re.search(options.only, name)]
    found = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            python = options.torch if name.startswith("torch") else sys.executable
            found[name].append(run_variant(python, __file__, name))
    report(found)


if __name__ == "__main__":
    main()
