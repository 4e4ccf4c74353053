"""All that a user can ask for: options, and the rows that they choose from.

Standard library only, so that help and complaints come at once.
"""

from dataclasses import field

from tf_infomax.options.core import (
    Options,
    Row,
    fields_of,
    format_value,
    option,
    refuse_if,
    suggest,
)
from tf_infomax.options.experiment import GROUPS, Config
from tf_infomax.runtime.errors import ConfigError

__all__ = [
    "GROUPS",
    "Config",
    "ConfigError",
    "Options",
    "Row",
    "fields_of",
    "format_value",
    "option",
    "refuse_if",
    "shared_option",
    "suggest",
]


def shared_option(name: str):
    """The same field as `Config` has, for another class of options."""
    original = Config.__dataclass_fields__[name]
    return field(default=original.default, metadata=original.metadata)
