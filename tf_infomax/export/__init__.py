"""Exporting trained encoders, and serving them."""
