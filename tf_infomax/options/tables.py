"""Names of the rows of the library's tables, as choices of options.

The tables themselves are not imported, so that a mistyped flag is answered before
TensorFlow is loaded; a test compares the names.
"""

BOUNDS = (
    "dv", "nwj", "info_nce", "jsd", "gan", "reverse_kl", "squared_hellinger",
    "pearson_chi2",
)  # fmt: skip
LIKELIHOODS = ("gaussian", "bernoulli")
PRIORS = ("uniform", "normal", "ball", "sphere")
PRIOR_LOSSES = (
    "non_saturating", "minimax", "boundary_seeking", "mmd", "sliced_wasserstein",
)  # fmt: skip
LOCAL_CRITICS = (
    "encode_and_dot", "encode_and_dot_paper", "encode_and_dot_plain",
    "concat_and_convolve",
)  # fmt: skip
GLOBAL_CRITICS = ("concat_mlp", "global_dot")
VECTOR_CRITICS = ("inner_product", "bilinear", "separable", "concatenated", "cosine")
VIEWS = ("one", "augment", "crops", "halves", "quadrants", "color", "pairs")
AUGMENTATIONS = ("crop", "shift", "flip", "color", "grey", "cutout")
PIXEL_RANGES = ("0_255", "0_1", "-1_1", "0_65535")
PROBES = ("linear", "mlp", "svm")
ESTIMATORS = (
    "auto", "dv", "mine", "nwj", "tuba", "interpolated", "info_nce",
    "info_nce_rows", "info_nce_columns", "jsd", "flo", "smile", "density_ratio",
    "difference_of_entropies", "l1out", "club", "ba", "vub", "tnce", "l1out_known",
    "club_known", "ksg", "ksg2", "lnc", "mixed", "discrete_continuous", "gaussian",
)  # fmt: skip
RELATED = ("v_information", "wasserstein", "wpc")
FAMILIES = ("constant", "linear", "mlp", "knn")
LIPSCHITZ = ("penalty", "spectral")
TASKS = (
    "gaussian", "dense", "two_pair", "student", "additive_uniform", "bimodal",
    "swiss_roll", "spiral", "xor", "autoregressive", "shared_context",
)  # fmt: skip
STAIRS = ("info_nce", "nwj", "dv", "mine", "mine_batch", "jsd")
STUDIES = (
    "bijective", "adversarial", "hard_to_invert", "critics", "encoders",
    "negatives", "invariance",
)  # fmt: skip
DIM_TABLES = ("dim_table", "dim_measures", "dim_structure", "dim_negatives")
FORMATS = ("npz", "csv", "tfrecord", "parquet", "projector")
RUNTIMES = ("tflite", "onnx")
TUNERS = ("random", "bayesian", "hyperband")
SCORES = ("linear", "knn", "effective_rank")
