"""Runs the tutorials, each in an empty folder, and keeps what they print and draw.

Usage: python docs/run_tutorials.py [NAME ...]
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent / "tutorials"


def run(path: Path) -> None:
    """Executes a notebook in place; what goes to standard error is not kept."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=1200, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of this machine
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    nbformat.write(notebook, path)


def main(names: list[str]) -> None:
    # Plain text of the commands, which are found beside this interpreter.
    os.environ.update(TERM="dumb", TF_CPP_MIN_LOG_LEVEL="3")
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    for name in names or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        print(name, flush=True)
        run(FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:])
