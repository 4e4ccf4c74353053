"""Signatures that editors and `help` show whole, where options are handed on."""

import inspect
from collections.abc import Callable
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable)
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def spelled_out(*sources: Callable) -> Callable[[_Function], _Function]:
    """A decorator: what the last `**options` of a function stand for, by name.

    Args:
        sources: functions and classes that take them; of what several have, the first
            one's default is shown. What has no default the function gives itself.
    """

    def decorate(function: _Function) -> _Function:
        own = inspect.signature(function)
        shown = {p.name: p for p in own.parameters.values() if p.kind not in _REST}
        for source in sources:
            for name, each in _parameters_of(source).items():
                if each.kind not in _REST and each.default is not each.empty:
                    keyword = each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
                    shown.setdefault(name, keyword)
        function.__signature__ = own.replace(parameters=[*shown.values()])
        return function

    return decorate


def _parameters_of(source: Callable) -> dict[str, inspect.Parameter]:
    """Of a class those of its own `__init__`, whatever its base makes of a call."""
    if not isinstance(source, type):
        return dict(inspect.signature(source).parameters)
    found = dict(inspect.signature(source.__init__).parameters)
    found.pop("self")
    return found
