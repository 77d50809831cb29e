"""Views that can be replayed: every random choice is a function of `(example_id, v)`.

A view's key is folded in from the example's id and the view's number, so that the crop, the flip,
the mixing partner and the mixing weight are the same for teacher and student, in any order, batch
size, process or year. Nothing about a view needs storing.

- `Views` renders a batch by a sequence of transforms.
- `Normalize`, `RandomCrop` and `RandomFlip` are transforms of one image; any frozen dataclass that
  is called as `transform(key, image)` is another.
- `Mixup` and `Cutmix` mix an example with a partner, and come last.
"""

from jaxkd.views._images import Normalize as Normalize
from jaxkd.views._images import RandomCrop as RandomCrop
from jaxkd.views._images import RandomFlip as RandomFlip
from jaxkd.views._mixing import Cutmix as Cutmix
from jaxkd.views._mixing import Mixup as Mixup
from jaxkd.views._views import Views as Views

__all__ = ["Cutmix", "Mixup", "Normalize", "RandomCrop", "RandomFlip", "Views"]
