"""A package that offers an objective to tf_infomax."""
