"""The values of variables on the disk, each under its name, and a small JSON state.

A checkpoint is an `.npz` whose members are called as the variables are and sealed as a
whole (`runtime.seals`). One of a version before names is read by position, which is
said: of it only the number, the shapes and the types can be compared.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tf_infomax.options import ConfigError
from tf_infomax.runtime.files import replacing
from tf_infomax.runtime.progress import tell
from tf_infomax.runtime.seals import DamagedError, open_archive, seal_archive

_STATE = "state"
STEP = "step"  # name of the variable that counts steps, where there is one


class DamagedCheckpointError(ConfigError):
    """A checkpoint that is not what was saved."""


def name_variables(variables: Mapping | Sequence) -> dict[str, object]:
    """Name -> variable; of a sequence, position -> variable."""
    if isinstance(variables, Mapping):
        return dict(variables)
    return {f"{place:03d}": variable for place, variable in enumerate(variables)}


def save_checkpoint(path: Path, variables: Mapping | Sequence, state: dict) -> None:
    """Writes the values of variables and the state.

    Args:
        path: of an `.npz`.
        variables: name -> variable, or a sequence, of which the places are the names.
        state: for `json`.
    """
    named = name_variables(variables)
    arrays = {name: _as_stored(np.asarray(v)) for name, v in named.items()}
    arrays[_STATE] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    with replacing(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
        seal_archive(temporary)


def _as_stored(value: np.ndarray) -> np.ndarray:
    """NumPy has no bfloat16 of its own and would store it as raw bytes."""
    return value.astype(np.float32) if value.dtype.name == "bfloat16" else value


def _kind_stored(variable) -> str:
    """The type as which the values of a variable are stored."""
    kind = getattr(variable.dtype, "name", variable.dtype)
    return "float32" if kind == "bfloat16" else kind


def read_state(path: Path) -> dict:
    """The state of a checkpoint alone.

    Raises:
        FileNotFoundError: if there is none.
        DamagedCheckpointError: if it is not what was saved.
    """
    with _opened(path) as (arrays, _):
        return _read_state(arrays)


def load_checkpoint(path: Path, variables: Mapping | Sequence) -> dict:
    """Assigns the stored values to the variables of their names; returns the state.

    Nothing is assigned unless everything fits and is finite.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedCheckpointError: if it is not what was saved.
        ConfigError: if it was made by another model.
    """
    named = name_variables(variables)
    with _opened(path) as (arrays, sealed):
        state = _read_state(arrays)
        values = dict(_read_values(arrays, path, named, sealed))
    _check_values(path, named, values, state)
    for name, variable in named.items():
        variable.assign(values[name])
    return state


def _read_state(arrays) -> dict:
    state = json.loads(arrays[_STATE].tobytes())
    if not isinstance(state, dict):
        raise ValueError("its state is no object")
    return state


def _read_values(arrays, path: Path, named: dict, sealed: bool) -> Iterator:
    found = [name for name in arrays.files if name != _STATE]
    if not sealed:
        tell(
            f"{path} is of an earlier version: it has no seal and no names of "
            "variables, so that only their number and shapes were compared."
        )
        if len(found) == len(named):
            yield from (
                (n, arrays[key]) for n, key in zip(named, sorted(found), strict=True)
            )
            return
    missing = [name for name in named if name not in found]
    surplus = [name for name in found if name not in named]
    if missing or surplus:
        raise _another_model(
            path,
            f"it holds {len(found)} arrays for {len(named)} variables"
            + (f"; missing: {_some(missing)}" if missing else "")
            + (f"; unknown: {_some(surplus)}" if surplus else ""),
        )
    yield from ((name, arrays[name]) for name in named)


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")


def _check_values(path: Path, named: dict, values: dict, state: dict) -> None:
    for name, variable in named.items():
        # Not by its value, which several workers would have to read together.
        value, kind = values[name], _kind_stored(variable)
        if value.shape != tuple(variable.shape) or value.dtype != kind:
            raise _another_model(
                path,
                f"{name} is {value.dtype} {list(value.shape)} there, {kind} "
                f"{list(variable.shape)} here",
            )
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise _damaged(path, f"{name} has values that are not finite")
    if STEP in named and int(values[STEP]) != state.get("step"):
        raise _damaged(
            path,
            f"it is said to be of step {state.get('step')}, its variables are of "
            f"step {int(values[STEP])}",
        )


def _another_model(path: Path, why: str) -> ConfigError:
    return ConfigError(f"checkpoint {path} was made by another model: {why}.")


def _damaged(path: Path, why) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        f"checkpoint {path} cannot be read; remove it. ({why})"
    )


def _is_numbered(names: list[str]) -> bool:
    """Whether it is of a version that stored variables by position, without a seal."""
    places = range(len(names) - 1)
    return sorted(names) == sorted([_STATE, *(f"v{place:05d}" for place in places)])


@contextmanager
def _opened(path: Path) -> Iterator:
    """The arrays of an `.npz`, and whether it is sealed."""
    try:
        sealed = open_archive(path) is not None
        with np.load(path, allow_pickle=False) as arrays:
            if not sealed and not _is_numbered(arrays.files):
                raise DamagedError("was changed after it was written: no seal")
            yield arrays, sealed
    except (FileNotFoundError, ConfigError):
        raise
    except Exception as error:  # NumPy and zipfile raise what a wrong byte leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _damaged(
            path, f"it {reason}" if isinstance(error, DamagedError) else reason
        ) from error
