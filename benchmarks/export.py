"""How exported networks compare with the networks, on 300 real images.

  pip install 'jaxkd-distill[experiments,litert]'
  python benchmarks/export.py [--steps 100] [--only cnn,resnet20]

Each network is trained a little on the digits of scikit-learn, so that its classes lie apart as
those of a trained network do, and exported as StableHLO, for LiteRT and for LiteRT with int8
weights. The images are 32×32, uint8 and normalized inside the files; the vision transformer has 4
blocks of width 64, the encoder 2 layers of 64, which read the 64 gray levels of a digit as tokens.
Accepted says whether `export` accepts the file; it refuses int8 outputs that agree in less than
99.5 %. Writes benchmarks/export.md when all networks have run.
"""

import argparse
import pathlib
import tempfile
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxkd
from jaxkd import make_train_step, models, recipes
from jaxkd.data import Dataset, Loader, digits
from jaxkd.export import export
from jaxkd.study import Column, Table
from jaxkd.views import Normalize, Views

HERE = pathlib.Path(__file__).parent
SIDE, EXAMPLES, BATCH = 32, 300, 32
NORMALIZE = Normalize(mean=(0.3,), std=(0.35,))


def images(split: str) -> Dataset:
    data = digits.load(split)
    shape = (len(data), SIDE, SIDE, 1)
    large = np.asarray(jax.image.resize(data.inputs.astype(np.float32), shape, "bilinear"))
    large = np.repeat(np.round(large).astype(np.uint8), 3, -1)
    return Dataset.from_arrays(
        large, data.labels, name="digits, enlarged", split=split, num_classes=10
    )


def tokens(split: str) -> Dataset:
    data = digits.load(split)
    return Dataset.from_arrays(
        data.inputs.reshape(len(data), -1).astype(np.int32),
        data.labels,
        name="digits, as tokens",
        split=split,
        num_classes=10,
    )


def of_images(name: str) -> Callable[[], nnx.Module]:
    return lambda: models.create(name, num_classes=10, image_size=SIDE, rngs=nnx.Rngs(0))


def transformer() -> nnx.Module:
    return models.VisionTransformer(4, 64, 4, 4, 3, 10, image_size=SIDE, rngs=nnx.Rngs(0))


def encoder() -> nnx.Module:
    return models.Encoder(256, 64, 2, 4, num_classes=10, pad_id=None, rngs=nnx.Rngs(0))


NETWORKS = {
    "cnn": of_images("cnn"),
    "resnet20": of_images("resnet20"),
    "mobilenet_v2_cifar": of_images("mobilenet_v2_cifar"),
    "vit": transformer,
    "encoder": encoder,
}


def trained(network: jaxkd.Network, data: Dataset, views: Views, steps: int) -> jaxkd.Network:
    objective, optimizer = recipes.labels(), optax.adamw(1e-3)
    step = make_train_step(network, objective, optimizer, views=views)
    state = step.init()
    loader = Loader(data, views, BATCH)
    for index in range(steps):
        state, _ = step(state, loader[index])
    return state.network(network)


def rows_of(name: str, steps: int) -> list[list]:
    of_text = name == "encoder"
    read, views = (tokens, Views()) if of_text else (images, Views((NORMALIZE,)))
    network = trained(jaxkd.from_nnx(NETWORKS[name]()), read("train"), views, steps)
    test = read("test")
    rows = []
    for kind in ("stablehlo", "litert", "litert_int8"):
        with tempfile.TemporaryDirectory() as folder:
            done = export(
                pathlib.Path(folder, "x"),
                network,
                test.inputs[:EXAMPLES],
                labels=test.labels[:EXAMPLES],
                formats=[kind],
                preprocess=None if of_text else normalize,
                int8_agreement=0.0,
            )
            check, size = done.checks[kind], done.files[kind].stat().st_size
            rows.append(
                [
                    name,
                    kind,
                    f"{check.largest:.1e}",
                    f"{check.agreement:.2%}",
                    f"{check.accuracy:.2%}",
                    f"{size:,}",
                    "no" if check.agreement < 0.995 else "yes",
                ]
            )
        print(*rows[-1], sep=" | ", flush=True)
    return rows


def normalize(batch: jax.Array) -> jax.Array:
    return NORMALIZE(jax.random.key(0), jnp.asarray(batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", help="names of networks, by default all")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(NETWORKS)
    rows = [row for name in names for row in rows_of(name, given.steps)]
    columns: list = ["Network", "Format", "Largest difference", "Equal classes"]
    columns += [Column("Accuracy"), Column("Bytes"), "Accepted"]
    note = (
        f"{EXAMPLES} test images of digits after {given.steps} steps of {BATCH}. StableHLO for any "
        f"batch, LiteRT for batch 1, each run in a fresh process on CPU. jax {jax.__version__}."
    )
    table = Table("Exported networks against the networks", columns, rows, note)
    table.print()
    if not given.only:
        (HERE / "export.md").write_text(
            f"# {table.title}\n\n{table.to_markdown()}\n\n{note}\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
