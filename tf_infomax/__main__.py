"""`tf-infomax COMMAND [--flag=value ...]`, or `python -m tf_infomax COMMAND ...`."""

import runpy
import sys

import tf_infomax

# Command -> module that is run as a program, and what it does.
COMMANDS = {
    "train": ("tf_infomax.train", "trains an encoder and measures what it learned"),
    "evaluate": ("tf_infomax.evaluate", "measures a run again"),
    "embed": ("tf_infomax.embed", "writes the codes of a folder of images"),
    "neighbors": ("tf_infomax.neighbors", "finds images that are alike"),
    "estimate": ("tf_infomax.estimate", "estimates mutual information of columns"),
    "tune": ("tf_infomax.tune", "searches options for what a probe reads"),
    "reproduce": ("tf_infomax.reproduce", "runs a study or a table of the papers"),
    "export": ("tf_infomax.export.saved_model", "writes a model that is served"),
    "serve-client": ("tf_infomax.export.client", "embeds images by a model server"),
}


def main() -> int:
    """Runs the command that is named first."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("--help", "-h", "help"):
        print(_describe())
        return 0
    if name == "--version":
        print(f"tf_infomax {tf_infomax.__version__}")
        return 0
    if name not in COMMANDS:
        _refuse(name)
    module, _ = COMMANDS[name]
    sys.argv = [f"tf-infomax {name}", *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def _describe() -> str:
    """All commands, and where to read on."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "Learning representations by maximizing mutual information.",
            "",
            "Usage: tf-infomax COMMAND [--flagfile=FILE] [--flag=value ...]",
            "",
            *lines,
            "",
            "tf-infomax COMMAND --help lists its options.",
        ]
    )


def _refuse(name: str) -> None:
    from tf_infomax.options.command import fail
    from tf_infomax.options.core import suggest

    received = f"Received: {name!r}." if name else "None was given."
    hint = suggest(name, COMMANDS)
    fail(f"a command comes first: {', '.join(COMMANDS)}. {received}{hint}")


if __name__ == "__main__":
    sys.exit(main())
