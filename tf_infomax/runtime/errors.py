"""What goes wrong in the hands of a user, said in one line."""


class ConfigError(ValueError):
    """An option that cannot be used: one line with the value and what is accepted."""

    exit_status = 2


def describe_error(error: BaseException) -> str:
    """What was raised, in one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
