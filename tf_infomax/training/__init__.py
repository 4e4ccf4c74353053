"""A run: built, trained, continued, evaluated, and read again from its folder."""
