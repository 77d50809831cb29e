"""Each experiment once through in this process, as small as it gets; tests marked slow do more."""

import importlib

import pytest
from experiment_runs import chosen, runtime, table

# The options, a table that the experiment writes, and names in its rows.
SMALL = {
    "digits": (
        "seeds=1 short_epochs=1 long_epochs=1 few_epochs=1 teacher_epochs=1 student.width=8",
        "few_labels.csv",
        ["labels", "distilled on the pool, cached"],
    ),
    "cifar": (
        "dataset=cifar10 mock=64 pair=convnet/convnet seeds=1 teacher_epochs=1 method=dkd "
        "protocol.epochs=1 protocol.batch_size=64",
        "convnet_convnet_on_*.csv",
        ["labels", "dkd"],
    ),
    "compress": (
        "dataset=digits batch_size=32 teacher.channels=4 teacher.hidden=8 teacher_epochs=1 "
        "student.channels=4 student.hidden=8 epochs=1 tuning_epochs=1 seeds=1 repeats=1 "
        "views.flip=False pipelines=labels,labels-prune",
        "compression.csv",
        ["teacher", "labels", "labels · prune"],
    ),
    "sweep": (
        "temperatures=1,4 alphas=0.9 seeds=1 width=8 epochs=1 teacher_epochs=1",
        "chosen__default__labels_alone.csv",
        [],
    ),
    "transfer": (
        "dataset=digits regimes=noise seeds=1 epochs=1 teacher_epochs=1 teacher_width=4 noise=0.6",
        "noisy_labels.csv",
        ["60%"],
    ),
    "language": (
        "mock=110000 vocabulary=0 length=16 prompt_length=4 teacher.width=16 teacher.layers=1 "
        "teacher.heads=2 teacher.hidden=16 student.width=8 student.layers=1 student.heads=2 "
        "student.hidden=8 teacher_steps=20 steps=20 seeds=1 test_rows=16 arms=labels,top_k",
        "students.csv",
        ["teacher", "labels alone", "top-k and labels"],
    ),
    "embeddings": (
        "mock=200 length=8 batch_size=50 arms=static static_width=8 static_epochs=1 pairs=200 "
        "seeds=1 speed_rounds=1",
        "agreement_and_cost.csv",
        ["mock encoder", "static", "static, untrained"],
    ),
    "text_classification": (
        "mock=200 length=8 labels_per_class=4 students=static static_width=8 epochs=1 "
        "teacher_steps=10 seeds=1 speed_rounds=1",
        "static_student.csv",
        ["teacher", "labels", "distilled on the pool"],
    ),
}


# Those of which tests of their own run the parts, or that take over ten CPU seconds.
SLOW = ["digits", "compress", "transfer", "language", "embeddings", "text_classification"]
EACH = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SMALL]


@pytest.mark.parametrize("name", EACH)
def test_an_experiment_goes_through(name, tmp_path):
    options, file, names = SMALL[name]
    experiment = importlib.import_module(f"experiments.{name}.__main__")
    config = chosen(experiment.Config(), [f"--config.{option}" for option in options.split()])
    experiment.main(config, tmp_path, runtime())
    (file,) = tmp_path.glob(file)
    rows = table(file)
    assert set(names) <= {next(iter(row.values())) for row in rows}, rows
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    # Compression concludes on the teacher, where pipelines are compared with and without it.
    assert "</html>" in page and ('<div class="conclusion">' in page) == (name != "compress")
    assert '<th scope="col"></th>' not in page
