"""Methods for text: one loss value a token, and the mean over the tokens that count.

Batches have `"inputs"` (tokens), `"labels"` (the next token, -1 where there is none) and `"where"`
`[batch, length]`, the tokens that count; `distilbert`, `tinybert` and `minilm` need no labels and
take in every token with a document number (`present`). Networks name their outputs as
`jaxkd.models.Decoder` and `jaxkd.models.Encoder` do: `embeddings`, `layer1`, …, `attention1`, …,
`hidden`, and of the last layer `queries`, `keys`, `values`.

- `token_kd`: any divergence of logits, and labels, on tokens of the data or of the student.
- `distilbert`, `tinybert`, `minilm`: hidden states, attention, relations, on tokens of the data.
- `gkd`: generalized Jensen-Shannon, on tokens of the data and of the student, mixed.
- `distillm2`: skew forward KL on tokens of the data, which the teacher generated, and skew reverse
  KL on tokens of the student.
- `minillm`, `on_policy_reverse_kl`: reverse KL with a policy's gradient, on tokens of the student.

Where the student generates the tokens, give the train step
`batch_transform=jaxkd.strategies.on_policy(…)`. Sequence-level distillation, training on text that
a teacher generated, is `recipes.labels` on `strategies.generate_targets(…).sequences(…)`. By name
(`jaxkd.recipes.create`) the methods are `language.gkd`, `language.tinybert`, and so on.
"""

from jaxkd.recipes.language._common import present as present
from jaxkd.recipes.language.distilbert import distilbert as distilbert
from jaxkd.recipes.language.distillm2 import distillm2 as distillm2
from jaxkd.recipes.language.gkd import gkd as gkd
from jaxkd.recipes.language.minillm import minillm as minillm
from jaxkd.recipes.language.minilm import minilm as minilm
from jaxkd.recipes.language.on_policy_reverse_kl import on_policy_reverse_kl as on_policy_reverse_kl
from jaxkd.recipes.language.tinybert import tinybert as tinybert
from jaxkd.recipes.language.token_kd import token_kd as token_kd

__all__ = [
    "distilbert",
    "distillm2",
    "gkd",
    "minillm",
    "minilm",
    "on_policy_reverse_kl",
    "present",
    "tinybert",
    "token_kd",
]
