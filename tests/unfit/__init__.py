"""Answers of a server that are unfit, and what the client makes of them."""
