"""Views that can be replayed: every random choice is a function of `(example_id, v)`.

A view's key is folded in from the example's id and the view's number, so that the crop, the flip,
the mixing partner and the mixing weight are the same for teacher and student, in any order, batch
size, process or year. Nothing about a view needs storing.

- `Views` renders a batch by a sequence of transforms, label maps together with their images.
- Geometric: `RandomCrop`, `RandomFlip`, `RandomResizedCrop`, `Resize`, `CenterCrop`. Photometric:
  `ColorJitter`, `RandomErasing`. Both: `RandAugment`. `Normalize` comes after those that take
  pixels.
- `Augment` wraps a function of JAX, such as dm_pix's, `OnHost` one of NumPy, such as
  albumentations'; any frozen dataclass that is called as `transform(key, image)` is a transform.
- `Mixup`, `Cutmix` and `MixupOrCutmix` mix an example with a partner, and come last.
"""

from jaxkd.views._augment import Augment as Augment
from jaxkd.views._color import ColorJitter as ColorJitter
from jaxkd.views._erasing import RandomErasing as RandomErasing
from jaxkd.views._images import Normalize as Normalize
from jaxkd.views._images import RandomCrop as RandomCrop
from jaxkd.views._images import RandomFlip as RandomFlip
from jaxkd.views._mixing import Cutmix as Cutmix
from jaxkd.views._mixing import Mixup as Mixup
from jaxkd.views._mixing import MixupOrCutmix as MixupOrCutmix
from jaxkd.views._on_host import OnHost as OnHost
from jaxkd.views._rand_augment import RandAugment as RandAugment
from jaxkd.views._resizing import CenterCrop as CenterCrop
from jaxkd.views._resizing import RandomResizedCrop as RandomResizedCrop
from jaxkd.views._resizing import Resize as Resize
from jaxkd.views._views import Views as Views

__all__ = [
    "Augment",
    "CenterCrop",
    "ColorJitter",
    "Cutmix",
    "Mixup",
    "MixupOrCutmix",
    "Normalize",
    "OnHost",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "Resize",
    "Views",
]
