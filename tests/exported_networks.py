"""Networks that the tests of several formats export."""

import jax.numpy as jnp
import numpy as np

import jaxkd


def texts_with_masks():
    """A network of texts with masks, in nested dictionaries, and seven examples."""

    def averaged(table, inputs):
        mask = inputs["mask"].astype(jnp.float32)[..., None]
        vectors = table[inputs["text"]["tokens"]] * mask
        return vectors.sum(1) / mask.sum(1)

    generator = np.random.default_rng(0)
    table = jnp.asarray(generator.normal(size=(30, 3)), jnp.float32)
    tokens = generator.integers(0, 30, (7, 5)).astype(np.int32)
    mask = generator.integers(0, 2, (7, 5)).astype(np.int32)
    mask[:, 0] = 1
    return jaxkd.from_function(averaged, table), {"text": {"tokens": tokens}, "mask": mask}
