"""What goes wrong in the hands of a user, said in one line."""


class ConfigError(ValueError):
    """An option that cannot be used: one line with the value and what is accepted."""

    exit_status = 2
