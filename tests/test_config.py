"""Options: checked as a whole, written and read back, named when they differ."""

import dataclasses
from importlib import import_module

import pytest

from tf_infomax.options import Config, ConfigError, flags, tables
from tf_infomax.options.datasets import DATASETS
from tf_infomax.options.encoders import ENCODERS
from tf_infomax.options.evaluations import EVALUATIONS
from tf_infomax.options.experiment import Core
from tf_infomax.options.objectives import OBJECTIVES


@pytest.mark.parametrize(
    ("name", "module", "table"),
    [
        ("BOUNDS", "tf_infomax.bounds", "BOUNDS"),
        ("LIKELIHOODS", "tf_infomax.objectives.autoencoder", "LIKELIHOODS"),
        ("PRIORS", "tf_infomax.objectives.priors", "PRIORS"),
        ("PRIOR_LOSSES", "tf_infomax.objectives.prior_losses", "PRIOR_LOSSES"),
        ("LOCAL_CRITICS", "tf_infomax.critics", "LOCAL_CRITICS"),
        ("GLOBAL_CRITICS", "tf_infomax.critics", "GLOBAL_CRITICS"),
        ("VECTOR_CRITICS", "tf_infomax.critics", "VECTOR_CRITICS"),
        ("VIEWS", "tf_infomax.data.views", "VIEWS"),
        ("AUGMENTATIONS", "tf_infomax.data.views", "AUGMENTATIONS"),
        ("PIXEL_RANGES", "tf_infomax.data.scale", "PIXEL_RANGES"),
        ("PROBES", "tf_infomax.evaluation.probes", "PROBES"),
        ("ESTIMATORS", "tf_infomax.estimation.estimators", "ESTIMATORS"),
        ("RELATED", "tf_infomax.estimation.related", "RELATED"),
        ("FAMILIES", "tf_infomax.estimation.v_information", "FAMILIES"),
        ("LIPSCHITZ", "tf_infomax.estimation.wasserstein", "LIPSCHITZ"),
        ("TASKS", "tf_infomax.data.synthetic", "TASKS"),
        ("STAIRS", "tf_infomax.studies.staircase", "READINGS"),
        ("STUDIES", "tf_infomax.studies.protocol", "STUDIES"),
        ("DIM_TABLES", "tf_infomax.studies.dim_tables", "TABLES"),
        ("FORMATS", "tf_infomax.embedding.formats", "FORMATS"),
        ("RUNTIMES", "tf_infomax.export.conversion", "RUNTIMES"),
        ("TUNERS", "tf_infomax.tuning.search", "TUNERS"),
        ("SCORES", "tf_infomax.tuning.hypermodel", "SCORES"),
    ],
)
def test_choices_are_the_rows_of_the_tables(name, module, table):
    assert getattr(tables, name) == tuple(getattr(import_module(module), table))


def test_every_table_of_names_is_compared():
    compared = test_choices_are_the_rows_of_the_tables.pytestmark[0].args[1]
    names = {name for name in vars(tables) if name.isupper()}
    assert names == {name for name, *_ in compared}


@pytest.mark.parametrize("rows", [OBJECTIVES, ENCODERS, DATASETS, EVALUATIONS])
def test_what_a_row_names_is_there(rows):
    for row in rows.values():
        assert callable(row.load())


def test_one_name_is_one_option():
    """Rows may share an option; two of one name that differ would hide one another."""
    specifications = {}
    for rows in (OBJECTIVES, ENCODERS, DATASETS, EVALUATIONS):
        for row in rows.values():
            for name, each in getattr(row.options, "__dataclass_fields__", {}).items():
                given = (each.default, dict(each.metadata))
                assert specifications.setdefault(name, given) == given
    assert not specifications.keys() & Core.__dataclass_fields__.keys()


def test_presets_are_the_papers():
    weights = lambda c: (c.alpha, c.beta, c.gamma)
    assert weights(Config(objective="dim_global")) == (1.0, 0.0, 1.0)
    assert weights(Config(objective="dim_local")) == (0.0, 1.0, 0.1)
    assert weights(Config(objective="dim_local_global")) == (0.5, 0.1, 0.1)
    changed = Config(objective="dim_local", gamma=0.0, alpha=2, beta=-1.0)
    assert weights(changed) == (2.0, 1.0, 0.0)


def test_a_preset_goes_with_its_row():
    config = Config(alpha=2.0, steps=5)
    other = config.replace(objective="dim_global")
    assert (other.alpha, other.beta, other.gamma) == (2.0, 0.0, 1.0)
    assert config.replace(objective="cpc", alpha=-1.0).encoder == "cpc"
    assert Config(objective="cpc", encoder="cpc").replace(seed=3).seed == 3


def test_options_of_an_evaluation_go_with_it():
    measured = Config(steps=5, evaluations=("health", "ndm"), ndm_steps=7)
    assert measured.replace(seed=1).ndm_steps == 7
    assert measured.replace(evaluations=("ndm", "knn")).ndm_steps == 7
    assert measured.replace(evaluations=("health",)) == Config(
        steps=5, evaluations=("health",)
    )
    for change in ({}, {"evaluations": ("health",)}):
        with pytest.raises(ConfigError, match=r"--ndm_steps=7 .*--evaluations=ndm"):
            Config(steps=5).replace(ndm_steps=7, **change)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_goes_by_its_name_alone(objective):
    config = Config(objective=objective, steps=3)
    assert config.replace(seed=1) == Config(objective=objective, steps=3, seed=1)


BAD = {
    "bound": (
        "infonce",
        r"--bound takes .*info_nce.*Received: 'infonce'.*mean info_nce",
    ),
    "batch_size": (1, r"--batch_size must be at least 2\. Received: 1"),
    "learning_rate": (0.0, r"--learning_rate must be above 0 and finite\. Received: 0"),
    "ema": (1.0, "--ema must be at least 0 and at most 0.999999"),
    "clip_norm": (float("nan"), "--clip_norm must be at least 0"),
    "augment": (("crop", "rotate"), "--augment takes .*Received: 'rotate'"),
    "dataset": ("fashon_m", "--dataset takes .*Did you mean fashion_m"),
    "encoder": ("basic23x32", "--encoder takes .*Did you mean basic32x32"),
    "steps": ("ten", "steps must be of type int"),
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": float("inf")}, "--learning_rate .*finite.*inf"),
        ({"bound": ""}, "--bound takes .*Received: ''"),
        ({"augment": ("crop", "crop")}, "--augment names one twice"),
    ],
)
def test_odd_values_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Config(**options)


def test_a_path_without_its_kind_is_told_it(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("images.npz", "model.keras"):
        (tmp_path / name).touch()
    for options, kind in (
        ({"dataset": str(tmp_path / "photos")}, "folder"),
        ({"dataset": str(tmp_path / "images.npz")}, "arrays"),
        ({"eval_dataset": str(tmp_path / "photos")}, "folder"),
        ({"encoder": str(tmp_path / "model.keras")}, "keras"),
    ):
        (path,) = options.values()
        with pytest.raises(ConfigError, match=rf"Did you mean {kind}:{path}\?"):
            Config(**options)


@pytest.mark.parametrize("name", BAD)
def test_bad_values_say_what_is_accepted(name):
    value, message = BAD[name]
    with pytest.raises(ConfigError, match=message):
        Config(**{name: value})


BAD_TOGETHER = [
    (dict(steps=1, epochs=1), "--steps or --epochs"),
    (dict(alpha=0.0, beta=0.0), "nothing to maximize"),
    (dict(encoder="mlp"), "the feature 'local'; take auto, basic"),
    (dict(encoder="mlp", objective="dim_global"), "gives code, fc"),
    (dict(encoder="keras:a.keras"), "--encoder_layers"),
    (dict(encoder_layers=("code=a",)), "--encoder_layers"),
    (dict(encoder="keras:a.keras", encoder_layers=("code",)), "feature=layer"),
    (
        dict(
            encoder="keras:a.keras",
            encoder_layers=("code=a", "local=b"),
            objective="dim_global",
            global_critic="global_dot",
        ),
        "global_dot",
    ),
    (dict(bound="jsd", negatives="same_location"), "changes nothing"),
    (dict(views="augment"), "--augment"),
    (dict(dataset="folder:photos"), "--image_size"),
    (dict(labels="y.npy"), "--labels"),
    (dict(online_probe="none", checkpoint="best"), "--online_probe"),
    (dict(deterministic=True, jit_compile=True), "choose one"),
    (dict(strategy="mirrored", jit_compile=True), "choose one"),
    (dict(strategy="mirrored", steps_per_execution=2), "--steps_per_execution"),
]


@pytest.mark.parametrize(("options", "message"), BAD_TOGETHER)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        Config(**options)


GLOBAL = dict(objective="dim_global")
OWN_MODEL = dict(encoder="keras:a.keras", encoder_layers=("code=c", "local=l"))


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (dict(code_size=128, **OWN_MODEL), "as its layer is"),
        (dict(encoder_input="0_1"), "--encoder=keras:FILE"),
        (dict(train_split="all"), "tfds:NAME"),
        (dict(download=True, dataset="arrays:x.npz"), "tfds:NAME"),
        (dict(pixel_range="0_1"), "arrays:FILE"),
        (dict(probe_every=2, online_probe="none"), "--online_probe"),
        (dict(**GLOBAL, local_critic="concat_and_convolve"), "--beta above 0"),
        (dict(**GLOBAL, negatives="same_location"), "--beta above 0"),
        (dict(global_critic="global_dot"), "--alpha above 0"),
        (dict(gamma=0.0, prior="normal"), "a --gamma above 0"),
        (dict(gamma=0.0, gradient_penalty=3.0), "a --gamma above 0"),
        (dict(gamma=0.0, prior_loss="minimax"), "a --gamma above 0"),
        (dict(prior_loss="mmd", gradient_penalty=3.0), "a discriminator (--prior"),
        (dict(objective="bigan", prior_loss="mmd"), "dim_local, dim_global"),
    ],
)  # fmt: skip
def test_an_option_that_the_others_leave_without_effect_is_refused(options, needed):
    with pytest.raises(ConfigError, match="changes nothing without") as error:
        Config(**options)
    assert needed in str(error.value)


def test_an_option_has_its_effect_through_any_of_the_datasets():
    Config(pixel_range="0_1", dataset="fashion_m:arrays:x.npz")
    Config(pixel_range="0_1", eval_dataset="arrays:x.npz")
    Config(local_files="there", eval_dataset="tfds:cifar10")


def test_global_dot_needs_a_built_in_network():
    options = dict(objective="dim_global", global_critic="global_dot")
    Config(**options)
    with pytest.raises(ConfigError, match=r"basic32x32.*--encoder=half_convnet"):
        Config(**options, encoder="half_convnet")


@pytest.mark.parametrize(
    "text", ["a\nb", "a ", " a", "a\u2028b", "a\r", "\udcff", "a\0"]
)
def test_text_that_a_flagfile_cannot_hold_is_refused(text):
    with pytest.raises(ConfigError, match="--workdir must be text"):
        Config(workdir=text)
    if text != " a":
        with pytest.raises(ConfigError, match="--dataset must be text"):
            Config(dataset=f"arrays:{text}")


def test_every_other_text_comes_back_from_a_flagfile(tmp_path):
    path = tmp_path / "odd.flags"
    for text in ("a b", "#a", "--a=b", "\N{SNOWMAN}", "a,b", "'\"\\"):
        config = Config(workdir=text, dataset=f"arrays:{text}")
        path.write_text(flags.format_flags(config), "utf-8")
        assert flags.read_flagfile(path) == config


def test_the_home_folder_is_found_and_other_machines_are_refused(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert Config(workdir="~/run").workdir == "/home/someone/run"
    for options in (
        dict(workdir="gs://bucket/run"),
        dict(dataset="folder:s3://photos", image_size=32),
        dict(dataset="arrays:http://x/y.npz"),
    ):
        with pytest.raises(ConfigError, match=r"this machine.*://"):
            Config(**options)


def test_a_flagfile_says_everything(tmp_path):
    config = Config(
        workdir="runs/a b", augment=("crop", "flip"), views="augment", steps=7,
        learning_rate=3e-5, deterministic=True, evaluate=False,
    )  # fmt: skip
    path = tmp_path / "run.flags"
    path.write_text(flags.format_flags(config))
    found = flags.read_flagfile(path)
    assert found == config
    assert found.given == config.given
    lines = [each for each in path.read_text().splitlines() if each[:1] == "-"]
    assert len(lines) == len(dataclasses.fields(Config))


def test_what_was_not_given_stays_as_it_was_written(tmp_path, monkeypatch):
    """Though the defaults are others by now; but it goes with its objective."""
    path = tmp_path / "run.flags"
    path.write_text(flags.format_flags(Config(objective="dim_local", steps=7)))
    row = OBJECTIVES["dim_local"]
    monkeypatch.setitem(OBJECTIVES, "dim_local", row._replace(preset={"gamma": 0.7}))
    found = flags.read_flagfile(path)
    assert found.given == {"objective", "steps"}
    longer = found.replace(steps=9)
    assert (longer.gamma, longer.beta, longer.steps) == (0.1, 1.0, 9)
    assert longer.given == {"objective", "steps"}
    other = found.replace(objective="dim_global")
    assert (other.alpha, other.beta, other.gamma) == (1.0, 0.0, 1.0)


def test_differences_leave_out_drivers_and_the_folder():
    one = Config(workdir="a", steps=5, progress="bar", probe_seeds=3)
    other = Config(workdir="b", steps=6, progress="none", probe_seeds=4)
    assert one.difference(other) == {"steps": (5, 6)}


def test_help_has_every_option_in_its_group():
    text = flags.format_help("tf_infomax.train", "Trains.")
    for each in dataclasses.fields(Config):
        assert f"--{each.name}" in text or f"--[no]{each.name}" in text
        assert f"{each.metadata['group']}:" in text
    assert max(map(len, text.splitlines())) <= 100


def test_help_of_the_evaluation_lists_what_it_takes():
    text = flags.format_help("tf_infomax.evaluate", "Probes.", drivers_only=True)
    assert "--probe_seeds" in text
    assert "--workdir" in text
    assert "--batch_size" not in text
