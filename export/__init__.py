"""Exporting and serving from a checkout: the commands of `tf_infomax.export`."""
