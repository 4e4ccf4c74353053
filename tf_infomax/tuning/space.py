"""The search space: `--tune=NAME:VALUES`, checked against the options it refers to.

    learning_rate:log:1e-5..1e-2     a range, uniform in the logarithm
    critic_units:64..512/64          a range with a step
    bound:info_nce,jsd,dv            a list of choices
    augment:none,crop+flip,shift     of a list of names: joined by +, none is empty
    negatives:all,same_location@bound=info_nce,dv
                                     only where another parameter has these values

Imports the configuration only; Keras Tuner when a space is declared to it.
"""

import dataclasses
import itertools
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from tf_infomax.options import Config, ConfigError, format_value, suggest

_GROUPS = ("Views", "Encoder", "Objective", "Training")
_ALSO = ("image_size", "resize", "mixed_precision")
# Length and scoring are the same for all trials, or scores could not be compared.
_NOT = (
    "steps", "epochs", "online_probe", "probe_every", "best", "encoder_layers",
    "encoder_input",
)  # fmt: skip
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(
    rf"(?P<log>log:)?(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})(?:/(?P<step>{_NUMBER}))?"
)
_COMBINATIONS = 4000  # checked one by one; of more, a random choice
_DIGITS = 3  # significant digits of a number from a range

FIELDS = {
    each.name: each
    for each in dataclasses.fields(Config)
    if not each.metadata["driver"]
    and each.name not in _NOT
    and (each.metadata["group"] in _GROUPS or each.name in _ALSO)
}


@dataclass(frozen=True)
class Parameter:
    """One dimension of the space.

    Attributes:
        name: of the option.
        choices: its values, or empty for a range.
        low, high: inclusive ends of the range.
        step: distance of its values, or None.
        log: whether it is uniform in the logarithm.
        parent, parent_values: exists only where `parent` has one of these values.
    """

    name: str
    choices: tuple = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    parent: str = ""
    parent_values: tuple = ()

    @property
    def ends(self) -> tuple:
        """The values to check: all choices, or the ends of the range."""
        return self.choices or (self.low, self.high)

    @property
    def values(self) -> tuple | None:
        """All of them; None of a range without steps."""
        if self.choices:
            return self.choices
        step = self.step or (1 if isinstance(self.low, int) else None)
        if step is None or (self.log and not isinstance(self.low, int)):
            return None
        count = int((self.high - self.low) / step + 1e-9) + 1
        return tuple(self.low + k * step for k in range(count))

    def holds(self, value) -> bool:
        """Whether it is one of the values."""
        if self.choices:
            return value in self.choices
        on_grid = self.step is None or abs(
            round((value - self.low) / self.step) * self.step + self.low - value
        ) < 1e-9 * max(1.0, abs(value))
        return self.low <= value <= self.high and on_grid

    def to_hp(self, value):
        """The value as Keras Tuner keeps it: a number or a string.

        Choices of booleans would come back as 0 and 1, and tuples are unknown there.
        """
        if isinstance(value, bool):
            return str(value).lower()
        return "+".join(value) or "none" if isinstance(value, tuple) else value

    def from_hp(self, value):
        """The option's value; of a range, rounded to three significant digits."""
        if self.choices:
            return {self.to_hp(choice): choice for choice in self.choices}[value]
        if isinstance(self.low, int):
            return int(value)
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)

    def declare(self, hp) -> None:
        """Makes it known to Keras Tuner's `HyperParameters`."""
        if self.choices:
            hp.Choice(self.name, [self.to_hp(value) for value in self.choices])
            return
        sampling = "log" if self.log else "linear"
        kind = hp.Int if isinstance(self.low, int) else hp.Float
        kind(self.name, self.low, self.high, step=self.step, sampling=sampling)


class Space:
    """The parameters of a search around a base configuration, parents first."""

    def __init__(self, base: Config, parameters: Iterable[Parameter]):
        self.base = base
        self.parameters = _order(list(parameters))

    @classmethod
    def parse(cls, specs: Iterable[str], base: Config) -> "Space":
        """Reads the values of `--tune`.

        The last one of a name counts; `none` forgets those before it.

        Raises:
            ConfigError: that names the first mistake, a value that its option refuses,
                or a combination of values that the configuration refuses.
        """
        found = {}
        for spec in specs:
            if spec == "none":
                found = {}
                continue
            parameter = _parse(spec)
            found[parameter.name] = parameter
        if not found:
            raise ConfigError(
                "--tune is needed: what to search, e.g. "
                "--tune=learning_rate:log:1e-4..1e-2 --tune=bound:info_nce,jsd."
            )
        space = cls(base, found.values())
        space._check()
        return space

    def active(self, values: Mapping) -> dict[str, object]:
        """The parameters that exist at these values: name -> value of the option.

        Args:
            values: as Keras Tuner keeps them; other names are left out.
        """
        result = {}
        for each in self.parameters:
            if self._exists(each, result) and each.name in values:
                result[each.name] = each.from_hp(values[each.name])
        return result

    def list_points(self) -> list[dict] | None:
        """All settings, as Keras Tuner keeps them; None if they are too many to list.

        A parameter that does not exist at a setting is left out of it.
        """
        found: list[dict] = [{}]
        for each in self.parameters:
            if each.values is None or len(found) * len(each.values) > _COMBINATIONS:
                return None
            found = [
                point | extra
                for point in found
                for extra in (
                    [{each.name: value} for value in each.values]
                    if self._exists(each, point)
                    else [{}]
                )
            ]
        by_name = {each.name: each for each in self.parameters}
        return [{n: by_name[n].to_hp(v) for n, v in point.items()} for point in found]

    @staticmethod
    def _exists(parameter: Parameter, values: Mapping) -> bool:
        return (
            not parameter.parent
            or values.get(parameter.parent) in parameter.parent_values
        )

    def configure(self, values: Mapping) -> Config:
        """The base with the active ones of these values.

        Raises:
            ConfigError: if they do not go together.
        """
        return self.base.replace(**self.active(values))

    def base_values(self) -> dict | None:
        """The base itself as Keras Tuner would keep it; None if it lies outside."""
        values, active = {}, {}
        for each in self.parameters:
            if not self._exists(each, active):
                continue
            value = active[each.name] = getattr(self.base, each.name)
            if not each.holds(value):
                return None
            values[each.name] = each.to_hp(value)
        return values

    def declare(self, hp) -> None:
        """Makes all parameters known to Keras Tuner's `HyperParameters`."""
        by_name = {each.name: each for each in self.parameters}
        for each in self.parameters:
            conditions, child = [], each
            while child.parent:
                parent = by_name[child.parent]
                values = [parent.to_hp(value) for value in child.parent_values]
                conditions.append((parent.name, values))
                child = parent
            with ExitStack() as scopes:
                for condition in reversed(conditions):
                    scopes.enter_context(hp.conditional_scope(*condition))
                each.declare(hp)

    def _check(self) -> None:
        for values in self._combinations():
            try:
                self.base.replace(**values)
            except ConfigError as error:
                shown = " ".join(f"--{n}={format_value(v)}" for n, v in values.items())
                hint = ""
                if len(values) > 1:
                    hint = " (--tune=NAME:VALUES@OTHER=VALUES gives a condition.)"
                raise ConfigError(
                    f"--tune allows {shown}, but {_sentence(str(error))}{hint}"
                ) from error

    def _combinations(self) -> Iterator[dict]:
        """Each value by itself, each pair, and all together, with what they need."""
        for count in (1, 2):
            for group in itertools.combinations(self.parameters, count):
                for ends in itertools.product(*(each.ends for each in group)):
                    given = {p.name: v for p, v in zip(group, ends, strict=True)}
                    if values := self._with_parents(given):
                        yield values
        total = 1
        for each in self.parameters:
            total *= len(each.ends)
        if total <= _COMBINATIONS:
            everything = itertools.product(*(each.ends for each in self.parameters))
        else:
            draw = random.Random(0)
            everything = (
                tuple(draw.choice(each.ends) for each in self.parameters)
                for _ in range(_COMBINATIONS)
            )
        for ends in everything:
            values = {}
            for each, value in zip(self.parameters, ends, strict=True):
                if self._exists(each, values):
                    values[each.name] = value
            yield values

    def _with_parents(self, given: dict) -> dict | None:
        """With the first fitting value of each parent; None if there is no fitting."""
        by_name = {each.name: each for each in self.parameters}
        values = dict(given)
        waiting = list(given)
        while waiting:
            each = by_name[waiting.pop()]
            if not each.parent:
                continue
            if each.parent not in values:
                values[each.parent] = each.parent_values[0]
                waiting.append(each.parent)
            elif values[each.parent] not in each.parent_values:
                return None
        return values


def _sentence(text: str) -> str:
    """The text with one mark at its end."""
    return text if text.endswith(("?", "!")) else text.rstrip(".") + "."


def _order(parameters: list[Parameter]) -> tuple[Parameter, ...]:
    """Parents before their children, otherwise in the order given."""
    by_name = {each.name: each for each in parameters}
    done: dict[str, Parameter] = {}

    def visit(parameter: Parameter, above: tuple[str, ...]) -> None:
        if parameter.name in above:
            raise ConfigError(
                f"--tune: the conditions of {' and '.join(above)} go in a circle."
            )
        if parameter.parent:
            if parameter.parent not in by_name:
                raise ConfigError(
                    f"--tune={parameter.name}:...@{parameter.parent}=...: "
                    f"{parameter.parent} is not searched itself; add "
                    f"--tune={parameter.parent}:VALUES."
                )
            visit(by_name[parameter.parent], (*above, parameter.name))
            parent = by_name[parameter.parent]
            if not parent.choices:
                raise ConfigError(
                    f"--tune={parameter.name}: the condition's {parent.name} is a "
                    "range; a condition needs a list of choices."
                )
            values = tuple(
                _parse_value(parent.name, text) for text in parameter.parent_values
            )
            for value in values:
                if value not in parent.choices:
                    raise ConfigError(
                        f"--tune={parameter.name}: {parent.name} never is "
                        f"{format_value(value)}; it is one of "
                        f"{', '.join(map(format_value, parent.choices))}."
                    )
            parameter = dataclasses.replace(parameter, parent_values=values)
        done.setdefault(parameter.name, parameter)

    for each in parameters:
        visit(each, ())
    return tuple(done.values())


def _parse(spec: str) -> Parameter:
    """One value of `--tune`; the values of its condition stay text for now."""
    name, colon, body = spec.partition(":")
    if name not in FIELDS:
        hint = suggest(name, FIELDS)
        known = name in {each.name for each in dataclasses.fields(Config)}
        what = "cannot be searched" if known else "is no option"
        raise ConfigError(
            f"--tune={spec}: {name!r} {what}.{hint} Can be: {', '.join(FIELDS)}."
        )
    body, at, condition = body.partition("@")
    if not colon or not body:
        raise ConfigError(
            f"--tune={spec}: no values. Write {name}:A,B,C or {name}:LOW..HIGH."
        )
    parent, equals, texts = condition.partition("=")
    if at and (not equals or not texts or not parent):
        raise ConfigError(
            f"--tune={spec}: a condition is written @OTHER=VALUE,VALUE. Received: "
            f"{'@' + condition!r}."
        )
    parameter = _parse_body(spec, name, body)
    if len(parameter.choices) == 1 and not at:
        raise ConfigError(
            f"--tune={spec}: one value is nothing to search; write "
            f"--{name}={format_value(parameter.choices[0])} instead, or more values."
        )
    if at:
        values = tuple(texts.split(","))
        parameter = dataclasses.replace(parameter, parent=parent, parent_values=values)
    return parameter


def _parse_body(spec: str, name: str, body: str) -> Parameter:
    kind = type(FIELDS[name].default)
    if body.startswith("log:") or ".." in body:
        if kind not in (int, float):
            raise ConfigError(
                f"--tune={spec}: {name} is no number, so that it has no range; write "
                f"{name}:A,B,C."
            )
        match = _RANGE.fullmatch(body)
        if not match:
            raise ConfigError(
                f"--tune={spec}: a range is written [log:]LOW..HIGH[/STEP], with "
                f"finite numbers. Received: {body!r}."
            )
        low, high = (_parse_value(name, match[key]) for key in ("low", "high"))
        step = match["step"] and _parse_value(name, match["step"])
        log = bool(match["log"])
        if low >= high:
            raise ConfigError(f"--tune={spec}: {low:g} is not below {high:g}.")
        if log and low <= 0:
            raise ConfigError(
                f"--tune={spec}: log needs a range above 0. Received: {low:g}."
            )
        if step is not None and log:
            raise ConfigError(f"--tune={spec}: a range with log takes no step.")
        if step is not None and not 0 < step <= high - low:
            raise ConfigError(
                f"--tune={spec}: a step must be above 0 and at most {high - low:g}, "
                f"the width of the range. Received: {step:g}."
            )
        return Parameter(name, low=low, high=high, step=step, log=log)
    choices = tuple(_parse_value(name, text) for text in body.split(","))
    if len(set(choices)) < len(choices):
        raise ConfigError(f"--tune={spec}: one value stands there twice.")
    return Parameter(name, choices=choices)


def _parse_value(name: str, text: str):
    """Text as a value of the option's type."""
    kind, text = type(FIELDS[name].default), text.strip()
    if kind is tuple:
        return () if text == "none" else tuple(text.split("+"))
    if kind is bool:
        if text not in ("true", "false"):
            raise ConfigError(f"--tune={name}: true or false. Received: {text!r}.")
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        noun = {int: "whole number", float: "number"}[kind]
        raise ConfigError(f"--tune={name}: {text!r} is no {noun}.") from error
