"""What figures of bounds have in common; imports nothing of the package."""

import math
from collections.abc import Sequence

_SHOWN = 0.2  # how far the axis goes on below, in parts of what lies above


def cut_below(
    axes,
    curves: Sequence[Sequence[tuple[float, float]]],
    chance: float = 0.0,
    top: float = -math.inf,
) -> None:
    """Ends the value axis a little below `chance`, and says what lies further down.

    A critic that is not trained yet may have a bound at -40 nats, beside which all that
    follows would be flat. Points below the end of the axis are marked there.

    Args:
        axes: with these curves drawn, the first as the first line and so on.
        curves: (step, value) of each point.
        chance: the value of the best constant critic.
        top: what the axis is to show beside the curves, such as a ceiling.
    """
    values = [v for points in curves for _, v in points if math.isfinite(v)]
    if not values or min(values) >= chance:
        return
    axes.axhline(chance, color="0.7", lw=1, zorder=0)
    label = f"below {chance:.3g} the critic is not trained yet"
    top = max(top, *values)
    floor = chance - _SHOWN * (top - chance)
    if min(values) < floor and max(values) > chance:
        for line, points in zip(axes.get_lines(), curves, strict=False):
            steps = [step for step, value in points if value < floor]
            axes.plot(steps, [floor] * len(steps), "v", color=line.get_color(), ms=6)
        margin = 0.05 * (top - floor)
        axes.set_ylim(floor - margin, top + margin)
        label += (
            f"\n(\N{BLACK DOWN-POINTING TRIANGLE}: cut off, lowest {min(values):.3g})"
        )
    axes.plot([], [], " ", label=label)
