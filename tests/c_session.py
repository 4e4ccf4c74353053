"""The C program `run_saved_model`, for the tests and the serving benchmark."""

import shutil
import subprocess
from pathlib import Path

COMPILER = shutil.which("gcc") or shutil.which("cc")


def compile_program(folder: Path) -> Path:
    """The program, compiled against the libraries in TensorFlow's own wheel."""
    import tensorflow as tf

    package, program = Path(tf.__file__).parent, folder / "run_saved_model"
    libraries = [package / f"libtensorflow_{n}.so.2" for n in ("cc", "framework")]
    source = Path(__file__).with_name("run_saved_model.c")
    subprocess.run(
        [
            *(COMPILER, "-std=c99", "-D_POSIX_C_SOURCE=199309L", "-O2"),
            *(f"-I{package / 'include'}", "-o", program, source, *libraries),
            f"-Wl,-rpath,{package}",
        ],
        check=True,
    )
    return program
