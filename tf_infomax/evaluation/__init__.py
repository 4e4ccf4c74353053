"""What an encoder is worth: frozen features, probes, health, neighbours.

Functions of arrays; every one works without flags, files or an objective.
"""
