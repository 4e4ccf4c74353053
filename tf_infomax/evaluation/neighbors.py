"""Nearest neighbours in a space of codes."""

import numpy as np


def find_neighbors(queries: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Positions `[q, k]` of the k codes nearest in L1, the paper's distance.

    Source: Hjelm et al. 2019, appendix A.4.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, metric="manhattan").fit(codes)
    return search.kneighbors(queries, return_distance=False)
