"""Images as uint8 arrays, views of them, and batches that are a function of the step.

* `images`: what every reader returns, and the checks on it;
* `sources`: the readers, one row each in `options.datasets`;
* `views`: augmentation and views;
* `batches`: the input pipeline.
"""
