"""Recipes for text: one number a token, the mean over the tokens that count.

Batches have `"inputs"` (tokens), `"labels"` (the next token, -1 where there is none) and `"where"`
`[batch, length]`, the tokens that count; `distilbert`, `tinybert` and `minilm` need no labels and
take in every token with a document number (`present`). Networks name their outputs as
`jaxkd.models.Decoder` and `jaxkd.models.Encoder` do: `embeddings`, `layer1`, …, `attention1`, …,
`hidden`, and of the last layer `queries`, `keys`, `values`.

| recipe | what is learned | from whose tokens |
| :-- | :-- | :-- |
| `token_kd` | any divergence of logits, and labels | the data's (offline, or a cache), or own |
| `distilbert`, `tinybert`, `minilm` | hidden states, attention, relations | the data's |
| `gkd` | generalized Jensen-Shannon | the data's and the student's, mixed |
| `distillm2` | skew forward and skew reverse KL | the data's (the teacher's), and the student's |
| `minillm`, `on_policy_reverse_kl` | reverse KL with a policy's gradient | the student's |

Where the student writes, give the train step
`batch_transform=jaxkd.strategies.on_policy(…)`. Learning from what a
teacher wrote (sequence-level distillation) is `recipes.labels` on
`strategies.generate_targets(…).sequences(…)`.
"""

from jaxkd.recipes.language._encoders import distilbert as distilbert
from jaxkd.recipes.language._encoders import minilm as minilm
from jaxkd.recipes.language._encoders import present as present
from jaxkd.recipes.language._encoders import tinybert as tinybert
from jaxkd.recipes.language._encoders import uniform_layers as uniform_layers
from jaxkd.recipes.language._tokens import token_kd as token_kd
from jaxkd.recipes.language._written import distillm2 as distillm2
from jaxkd.recipes.language._written import gkd as gkd
from jaxkd.recipes.language._written import minillm as minillm
from jaxkd.recipes.language._written import on_policy_reverse_kl as on_policy_reverse_kl
