"""Servers whose answers are unfit, of as many kinds as one thinks of, by a seed.

    python tests/unfit_answers.py --seed=0 --rest=1400 --grpc=600

lets the client's command line embed three files with each of them, and says of how many
it wrote numbers that were not served, showed a traceback or a control character, took
longer than its time-out or more than 2 GB. Case n is asked for as the model "case<n>".
Sockets alone are used, no library of HTTP or gRPC, so that every byte may be wrong.
"""

import argparse
import collections
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from unfit.case import TRUTH, Case
from unfit.json_answers import read_json
from unfit.outcome import Outcome, embed, judge, three_files
from unfit.protobuf import read_messages
from unfit.server import Server, make_case


def peak() -> int:
    """The most MB that this process had since the last call."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024


class Tally:
    """Tries cases one after another, prints those at fault, and counts."""

    def __init__(self, options: argparse.Namespace, addresses: dict[str, str]):
        self._options, self._addresses = options, addresses
        self._counts = collections.Counter()
        self._late = []
        self._most, self._longest = 0, 0.0

    def __str__(self) -> str:
        most = f"at most {self._most} MB, {self._longest:.1f} s"
        return f"seed {self._options.seed}: {dict(self._counts)}, {most}"

    def try_case(self, transport: str, number: int, folder: Path) -> None:
        """Lets the client embed the files of a folder by this server's answers."""
        options = self._options
        case = make_case(options.seed, number, transport)
        peak()
        address = self._addresses[transport]
        outcome = embed(address, transport, number, folder, options.timeout)
        memory = peak()
        truth = self._find_truth(transport, number, case, outcome)
        faults = judge(case, outcome, options.timeout, truth)
        faults += [f"{memory} MB"] * (memory > 2048)
        self._most = max(self._most, memory)
        self._longest = max(self._longest, outcome.seconds)
        done = "embedded" if outcome.status == 0 else "refused"
        self._counts[transport, done] += 1
        self._counts.update(faults)
        if faults or options.only is not None:
            shown = repr(outcome.shown[-400:])
            print(transport, number, case.kind, case.stage, faults, shown, flush=True)

    def _find_truth(
        self, transport: str, number: int, case: Case, outcome: Outcome
    ) -> np.ndarray | None:
        """What may be embedded; of gRPC, taken for right, it is looked at later."""
        if not case.open:
            return TRUTH
        if transport == "rest":
            return read_json(case.served)
        if outcome.embeddings is not None:
            self._late.append((number, case, outcome))
        return outcome.embeddings

    def check_late(self) -> None:
        """Whether TensorFlow reads the same from the messages that came by gRPC.

        Last of all, since TensorFlow takes memory, which is measured.
        """
        if not self._late:
            return
        truths = read_messages([case.served for _, case, _ in self._late])
        for (number, case, outcome), truth in zip(self._late, truths, strict=True):
            if truth is None or not np.array_equal(truth, outcome.embeddings):
                self._counts["wrong numbers"] += 1
                print("grpc", number, case.kind, "wrong numbers", case.served[:200])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rest", type=int, default=1400)
    parser.add_argument("--grpc", type=int, default=600)
    parser.add_argument("--only", type=int, help="one case")
    parser.add_argument("--timeout", type=float, default=2.0)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        with Server(options.seed) as server:
            print(server.address("rest"), server.address("grpc"), flush=True)
            threading.Event().wait()
    command = [sys.executable, __file__, "--serve", f"--seed={options.seed}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            found = server.stdout.readline().split()
            run(options, dict(zip(("rest", "grpc"), found, strict=True)))
        finally:
            server.kill()


def run(options: argparse.Namespace, addresses: dict[str, str]) -> None:
    """All cases; prints those at fault and the counts."""
    cases = [("rest", k) for k in range(options.rest)]
    cases += [("grpc", k) for k in range(options.grpc)]
    tally = Tally(options, addresses)
    with three_files() as folder:
        for transport, number in cases:
            if options.only in (None, number):
                tally.try_case(transport, number, folder)
    tally.check_late()
    print(tally)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main()
