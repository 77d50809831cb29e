"""Other views, examples, labels, classes and codecs than those of the cache, and other places."""

import dataclasses
import functools
import shutil
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import Attack, Attempt, Folder
from benchmarks.contract_attacks_parts.setting import CLASSES, EXAMPLES, NAMES, VIEWS
from jaxkd import cache as caches
from jaxkd.cache import Cache
from jaxkd.data import Dataset, Loader
from jaxkd.targets import Dense, Sampled, TopK, TopP
from jaxkd.views import Cutmix, Mixup, Normalize, RandomCrop, RandomFlip, Views

OF_VIEWS, OF_DATA, OF_CLASSES, OF_CODEC, OF_PATH = (
    "Views",
    "Examples",
    "Classes and labels",
    "Codec and sizes",
    "Path",
)


def attacks() -> Iterator[Attack]:
    for name, views in OTHER_VIEWS.items():
        yield Attack(OF_VIEWS, name, functools.partial(_views, views), ("views",))
    for name, make in EDITED_VIEWS.items():
        yield Attack(OF_VIEWS, name, functools.partial(_edited, name, make), ("views.",))
    yield Attack(OF_VIEWS, "another generator of random numbers", _generator, ("views.prng",))
    yield Attack(OF_VIEWS, "another selection of partners", _partners, ("views.partners",))
    for name, data in OTHER_DATA.items():
        yield Attack(OF_DATA, name, functools.partial(_data, data), ("dataset.",))
    for name, data in OTHER_CLASSES.items():
        yield Attack(OF_CLASSES, name, functools.partial(_data, data), ("dataset.",))
    for name, labels in OTHER_LABELS.items():
        words = ("dataset.labels", "label")
        yield Attack(OF_CLASSES, name, functools.partial(_labels, labels), words)
    for name, options in OTHER_SIZES.items():
        attempts = functools.partial(_sizes, options)
        yield Attack(OF_CODEC, name, attempts, ("codecs", "num_", "block_size", "view", "logits"))
    yield Attack(OF_CODEC, "a decoder of the same name", _decoder, ("codec",))
    for name, call in PATHS.items():
        attempts = functools.partial(_path, name, call)
        yield Attack(OF_PATH, name, attempts, ("cache", "source", "target", "directory"))


def _read(cache: Cache) -> None:
    for view in range(cache.num_views):
        cache.read(cache.ids, view)


def _views(views: Views, folder: Folder) -> Iterator[Attempt]:
    path, network = setting.home(folder), setting.teacher()
    yield from setting.everywhere(folder, path, network, views=views)
    yield "Loader", lambda: Loader(setting.dataset(), views, 16, cache=setting.opened(path))
    loader = Loader(cache=setting.opened(path), batch_size=16)
    yield "fit", lambda: setting.train(loader, views=views)


OTHER_VIEWS = {
    "another seed": Views(VIEWS.transforms, seed=1),
    "a larger crop": Views((RandomCrop(2), Normalize())),
    "another normalization": Views((RandomCrop(1), Normalize((0.5,), (0.3,)))),
    "a flip more": Views((RandomCrop(1), RandomFlip(), Normalize())),
    "no crop": Views((Normalize(),)),
    "another order": Views((Normalize(), RandomCrop(1))),
    "none": Views(),
    "mixed": Views((*VIEWS.transforms, Mixup(CLASSES))),
    "mixed otherwise": Views((*VIEWS.transforms, Cutmix(CLASSES))),
}


def _edited(name: str, make: Callable[[bool], Views], folder: Folder) -> Iterator[Attempt]:
    network = setting.teacher()
    path = folder.built(name, lambda path: setting.build(path, network, views=make(False)))
    other = make(True)
    yield from setting.everywhere(folder, path, network, views=other)
    right = setting.opened(path, views=make(False))
    yield "Loader", lambda: Loader(setting.dataset(), other, 16, cache=right)


def _custom(call: Callable[[Any, Any], Any], **attributes: Any) -> Views:
    """Views of one transform of one's own, as a notebook's cell makes its class anew."""

    @dataclasses.dataclass(frozen=True)
    class Custom:
        strength: ClassVar[float] = 1.0

        def __call__(self, key, image):
            return call(key, image.astype(jnp.float32) / 255)

    for name, value in attributes.items():
        setattr(Custom, name, value)
    return Views((Custom(),))


def _rarely(wrong: bool) -> Views:
    def call(key, image):
        rare = jax.random.uniform(key) < 0.05
        return jnp.where(rare & wrong, image[::-1], image)

    return _custom(call)


def _slightly(wrong: bool) -> Views:
    return _custom(lambda key, image: image * (1.002 if wrong else 1.0))


def _dark(wrong: bool) -> Views:
    def call(key, image):
        dark = image.mean() < 0.46
        return jnp.where(dark & wrong, 1 - image, image)

    return _custom(call)


def _closure(wrong: bool) -> Views:
    shift = 2 if wrong else 1
    return _custom(lambda key, image: jnp.roll(image, shift, 0))


def _pixel(wrong: bool) -> Views:
    return _custom(lambda key, image: image.at[0, 0].set(0.5) if wrong else image)


def _sample(wrong: bool) -> Views:
    sampler = jax.random.normal if wrong else jax.random.uniform
    return _custom(lambda key, image: image + 0.1 * sampler(key, image.shape))


EDITED_VIEWS: dict[str, Callable[[bool], Views]] = {
    "edited code that changes 5 % of the views": _rarely,
    "edited code that changes 0.2 % of each pixel": _slightly,
    "edited code that changes dark images": _dark,
    "a closure's number": _closure,
    "one pixel": _pixel,
    "another distribution": _sample,
}


def _generator(folder: Folder) -> Iterator[Attempt]:
    path, network = setting.home(folder), setting.teacher()
    for name, call in setting.everywhere(folder, path, network):

        def otherwise(call: Callable[[], Any] = call) -> None:
            with jax.threefry_partitionable(False):
                call()

        yield name, otherwise


def _partners(folder: Folder) -> Iterator[Attempt]:
    mixed, network = OTHER_VIEWS["mixed"], setting.teacher()
    path = folder.built("mixed", lambda path: setting.build(path, network, views=mixed))
    part = setting.dataset().select(np.arange(40))
    yield "open", lambda: setting.opened(path, data=part, views=mixed)
    right = setting.opened(path, views=mixed)
    yield "Loader", lambda: Loader(part, mixed, 16, cache=right)


def _data(make: Callable[[], Dataset], folder: Folder) -> Iterator[Attempt]:
    path, data = setting.home(folder), make()
    yield from setting.everywhere(folder, path, setting.teacher(), data)
    yield "Loader", lambda: Loader(data, VIEWS, 16, cache=setting.opened(path))


def _images(change: Callable[[np.ndarray], np.ndarray], **facts: Any) -> Callable[[], Dataset]:
    def make() -> Dataset:
        images, labels = setting.arrays()
        changed = change(images.copy())
        more = np.concatenate([labels, np.zeros(max(0, len(changed) - EXAMPLES), labels.dtype)])
        return setting.dataset(changed, more[: len(changed)], **facts)

    return make


def _one_pixel(images: np.ndarray) -> np.ndarray:
    images[17, 0, 0, 0] ^= 128
    return images


def _two_exchanged(images: np.ndarray) -> np.ndarray:
    images[[3, 4]] = images[[4, 3]]
    return images


def _selected(make: Callable[[], Dataset]) -> Callable[[], Dataset]:
    return lambda: make().select(np.arange(60))


OTHER_DATA: dict[str, Callable[[], Dataset]] = {
    "one pixel of one image": _images(_one_pixel),
    "two images exchanged": _images(_two_exchanged),
    "all images in another order under the same ids": _images(lambda x: x[::-1].copy()),
    "inverted": _images(lambda x: 255 - x),
    "mirrored": _images(lambda x: x[:, :, ::-1].copy()),
    "scaled to fractions": _images(lambda x: (x / 255).astype(np.float32)),
    "another name": lambda: setting.dataset(name="forms"),
    "another version": lambda: setting.dataset(version="2"),
    "another split": lambda: setting.dataset(split="test"),
    "ids that are shifted by one": lambda: setting.dataset(ids=np.arange(EXAMPLES) + 1),
    "a part of changed images": _selected(_images(_one_pixel)),
    "grown, and one image is changed": _images(
        lambda x: np.concatenate([_one_pixel(x), x[:4] ^ 255])
    ),
    "grown in front, so that ids have moved": _images(lambda x: np.concatenate([x[:4] ^ 255, x])),
    "shrunk, and two are exchanged": _images(lambda x: _two_exchanged(x)[:80]),
}


def _renumbered() -> Dataset:
    return setting.dataset(labels=CLASSES - 1 - setting.arrays()[1], class_names=NAMES[::-1])


OTHER_CLASSES: dict[str, Callable[[], Dataset]] = {
    "renumbered, with their names": _renumbered,
    "names in reverse order": lambda: setting.dataset(class_names=NAMES[::-1]),
    "two names exchanged": lambda: setting.dataset(class_names=("bee", "ant", "cat", "dog")),
    "another name": lambda: setting.dataset(class_names=(*NAMES[:3], "wolf")),
    "a class more": lambda: setting.dataset(num_classes=5, class_names=(*NAMES, "emu")),
    "labels renumbered, without names": lambda: setting.dataset(
        labels=CLASSES - 1 - setting.arrays()[1], class_names=()
    ),
    "labels in another order": lambda: setting.dataset(labels=setting.arrays()[1][::-1].copy()),
    "one label changed": lambda: setting.dataset(labels=_one_label()),
}


def _one_label() -> np.ndarray:
    labels = setting.arrays()[1].copy()
    labels[5] = (labels[5] + 1) % CLASSES
    return labels


OTHER_LABELS = {
    "one label changed under TopK(label=True)": _one_label,
    "labels rotated under TopK(label=True)": lambda: (setting.arrays()[1] + 1) % CLASSES,
}


def _labels(make: Callable[[], np.ndarray], folder: Folder) -> Iterator[Attempt]:
    codec, network = TopK(1, label=True), setting.teacher()
    path = folder.built("labels", lambda path: setting.build(path, network, codec=codec))
    data = setting.dataset(labels=make())
    yield from setting.everywhere(folder, path, network, data, codec=codec)
    yield "Loader", lambda: Loader(data, VIEWS, 16, cache=setting.opened(path))


OTHER_SIZES: dict[str, dict[str, Any]] = {
    "half precision": {"codec": Dense("float16")},
    "eight bits": {"codec": Dense("int8")},
    "top 2": {"codec": TopK(2)},
    "top 3 with other temperatures": {"codec": TopK(3, temperatures=(1.0, 2.0))},
    "top p": {"codec": TopP(0.9, cap=3)},
    "sampled": {"codec": Sampled(3)},
    "fewer classes": {"valid_classes": 3},
    "more views": {"num_views": 3},
    "fewer views": {"num_views": 1},
    "other blocks": {"block_size": 48},
    "fewer examples": {"dataset": 40},
}


def _sizes(options: dict[str, Any], folder: Folder) -> Iterator[Attempt]:
    path, network, data = setting.home(folder), setting.teacher(), setting.dataset()
    options = dict(options)
    if "dataset" in options:
        data = data.select(np.arange(options.pop("dataset")))
    attempts = dict(setting.everywhere(folder, path, network, data, **options))
    yield "build", attempts["build"]
    yield "fill", attempts["fill"]


def _decoder(folder: Folder) -> Iterator[Attempt]:
    def make(scale: float) -> Any:
        @dataclasses.dataclass(frozen=True)
        class Scaled(Dense):
            def specification(self) -> dict[str, Any]:
                return {**super().specification(), "name": "Scaled"}

            def decode(self, arrays: Any, shape: Any) -> Any:
                return super().decode(arrays, shape) * scale

        return Scaled()

    network = setting.teacher()
    path = folder.built("own", lambda path: setting.build(path, network, codec=make(1.0)))
    yield "build", lambda: setting.build(folder.copy(path), network, codec=make(2.0))
    yield "open", lambda: setting.opened(path, codecs=[type(make(2.0))])


def _path(name: str, call: Callable[[Folder, Any], Any], folder: Folder) -> Iterator[Attempt]:
    path = setting.home(folder)
    yield name, lambda: call(folder, folder.copy(path))


def _of_a_file(folder: Folder, path: Any) -> None:
    setting.build(path / "contract.json", setting.teacher())


def _of_two(folder: Folder, path: Any) -> None:
    other = folder.empty()
    setting.build(other, setting.teacher(2.0))
    shutil.copytree(other, path, dirs_exist_ok=True)
    _read(setting.opened(path))


def _of_both_contracts(folder: Folder, path: Any) -> None:
    other = folder.empty()
    setting.build(other, setting.teacher(2.0))
    shutil.copytree(path, other, dirs_exist_ok=True, ignore=shutil.ignore_patterns("records"))
    _read(setting.opened(other))


def _linked_source(folder: Folder, path: Any) -> None:
    link = folder.empty()
    link.symlink_to(path)
    caches.merge(folder.empty(), [path, link])


def _onto_itself(folder: Folder, path: Any) -> None:
    caches.merge(path, [path])


PATHS: dict[str, Callable[[Folder, Any], Any]] = {
    "nothing there": lambda folder, path: setting.opened(path / "elsewhere"),
    "the directory above": lambda folder, path: setting.opened(path.parent),
    "the directory of the segments": lambda folder, path: setting.opened(path / "segments"),
    "a file": _of_a_file,
    "another cache copied onto it": _of_two,
    "its documents over another cache's records": _of_both_contracts,
    "a source of a merge by two names": _linked_source,
    "a merge onto its source": _onto_itself,
    "a merge onto another teacher's": lambda folder, path: caches.merge(
        folder.built("two", lambda p: setting.build(p, setting.teacher(2.0))), [path]
    ),
    "a part onto another teacher's": lambda folder, path: caches.subset(
        path, folder.built("two", lambda p: setting.build(p, setting.teacher(2.0)))
    ),
    "extended where there is none": lambda folder, path: caches.extend(
        folder.empty(), setting.teacher(), setting.dataset(), VIEWS, progress=False
    ),
}
