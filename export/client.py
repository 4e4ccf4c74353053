"""`python -m export.client` and its classes, as `tf_infomax.export.client`."""

from tf_infomax.export.client import (
    EmbeddingClient,
    ServingError,
    Signature,
    TensorSpec,
    main,
)

__all__ = ["EmbeddingClient", "ServingError", "Signature", "TensorSpec"]

if __name__ == "__main__":
    main()
