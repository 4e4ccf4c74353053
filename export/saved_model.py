"""`python -m export.saved_model`, as `tf_infomax.export.saved_model`."""

from tf_infomax.export.saved_model import start

if __name__ == "__main__":
    start()
