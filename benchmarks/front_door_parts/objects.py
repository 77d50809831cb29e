"""A folder of JPEGs as people have them: three kinds of rendered objects, of odd sizes."""

import pathlib
from collections.abc import Callable

import numpy as np

KINDS = ("ball", "cone", "funnel")
# What a viewer does to show a photograph upright, by the number in its EXIF, undone.
_TURNED = {3: "ROTATE_180", 6: "ROTATE_90", 8: "ROTATE_270"}
_ORIENTATION = 0x0112


def render(kind: str, height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Renders an object of one kind under a lamp, at a random place, of random size and color.

    A funnel is a cone upside down, so that a photograph that is read without its EXIF may show the
    wrong kind.

    Args:
      kind: one of `KINDS`.
      height: of the image.
      width: of the image.
      generator: of random numbers.

    Returns:
      uint8 `[height, width, 3]`.
    """
    radius = generator.uniform(0.3, 0.45)
    center = generator.uniform(radius, 1 - radius, 2)
    down, right = np.mgrid[0:height, 0:width]
    v = ((down + 0.5) / height - center[0]) / radius
    u = ((right + 0.5) / width - center[1]) / radius
    if kind == "ball":
        inside, across, along = u**2 + v**2 < 1, u, v
    else:
        half = (1 - v if kind == "funnel" else 1 + v) / 2
        inside = (np.abs(v) < 1) & (np.abs(u) < half)
        across, along = u / np.maximum(half, 1e-3), 0 * v
    depth = np.sqrt(np.clip(1 - across**2 - along**2, 0, 1))
    angle = generator.uniform(0, 2 * np.pi)
    light = 0.5 * np.cos(angle) * across + 0.5 * np.sin(angle) * along + 0.7 * depth
    shade = np.where(inside, 0.25 + 0.75 * np.clip(light, 0, 1), 1.0)
    color, ground = generator.uniform(40, 255, 3), generator.uniform(20, 200, 3)
    slope = 1 + generator.uniform(-0.4, 0.4) * (down / height - 0.5)
    image = np.where(inside[..., None], color, ground * slope[..., None]) * shade[..., None]
    image = image + generator.normal(0, generator.uniform(2, 25), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_images(root: pathlib.Path, count: int, size: int = 24) -> pathlib.Path:
    """Writes JPEGs of odd sizes, a folder for each kind; some grey, some turned and with EXIF.

    Args:
      root: the folder.
      count: number of images, a third of each kind.
      size: least height and width; twice as much is the most.

    Returns:
      The folder.
    """
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        height, width = (int(side) for side in generator.integers(size, 2 * size + 1, 2))
        image = Image.fromarray(render(kind, height, width, generator))
        if number % 10 == 4:
            image = image.convert("L")
        exif = Image.Exif()
        if number % 4 == 1:
            exif[_ORIENTATION] = orientation = (3, 6, 8)[number // 4 % 3]
            image = image.transpose(Image.Transpose[_TURNED[orientation]])
        (root / kind).mkdir(parents=True, exist_ok=True)
        image.save(root / kind / f"{number:04d}.jpg", quality=90, exif=exif)
    return root


def rendered(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Renders what a teacher is trained on: squares from the middle of such images, and classes.

    Args:
      count: number of images.
      size: height and width.
      seed: of the random numbers; that of the folder is 0.

    Returns:
      Images `[count, size, size, 3]` in [0, 1], and classes `[count]`.
    """
    from PIL import Image, ImageOps

    generator = np.random.default_rng(seed)
    classes = np.arange(count) % len(KINDS)
    images = []
    for kind in classes:
        height, width = (int(side) for side in generator.integers(size, 2 * size + 1, 2))
        image = Image.fromarray(render(KINDS[kind], height, width, generator))
        images.append(np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)))
    return np.stack(images).astype(np.float32) / 255, classes


def write_teacher(
    file: pathlib.Path, layers: list[tuple[np.ndarray, np.ndarray]], size: int
) -> pathlib.Path:
    """Writes a perceptron as an ONNX file of images `[n, 3, size, size]`, channels first.

    Args:
      file: the file.
      layers: weights `[in, out]` and biases of each layer, of grey pixels row by row; ReLU between.
      size: height and width of the images.

    Returns:
      The file.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    grey = np.tile(layers[0][0] / 3, (3, 1))
    layers = [(grey, layers[0][1]), *layers[1:]]
    nodes, constants, last = [helper.make_node("Flatten", ["images"], ["x"])], [], "x"
    for number, (weights, bias) in enumerate(layers):
        names = [f"{part}{number}" for part in ("weights", "bias", "sums", "values")]
        pairs = zip(names, (weights, bias), strict=False)
        constants += [numpy_helper.from_array(a.astype(np.float32), name) for name, a in pairs]
        out = "logits" if number == len(layers) - 1 else names[2]
        nodes.append(helper.make_node("Gemm", [last, *names[:2]], [out]))
        if out != "logits":
            nodes.append(helper.make_node("Relu", [out], [names[3]]))
        last = names[3]
    shapes = {"images": ["n", 3, size, size], "logits": ["n", len(layers[-1][1])]}
    described: Callable[[str], object] = lambda name: helper.make_tensor_value_info(  # noqa: E731
        name, TensorProto.FLOAT, shapes[name]
    )
    graph = helper.make_graph(
        nodes, "teacher", [described("images")], [described("logits")], constants
    )
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=8), file)
    return file


def train_teacher(file: pathlib.Path, size: int, count: int = 6000) -> float:
    """Trains a perceptron of scikit-learn on other objects than the folder's, and writes it.

    Args:
      file: the ONNX file.
      size: height and width of the images.
      count: number of objects.

    Returns:
      Its accuracy on another thousand.
    """
    from sklearn.neural_network import MLPClassifier

    images, classes = rendered(count + 1000, size, seed=1)
    pixels = images.mean(-1).reshape(len(images), -1)
    model = MLPClassifier((96, 48), alpha=1e-2, early_stopping=True, random_state=0, tol=5e-4)
    model.fit(pixels[:count], classes[:count])
    write_teacher(file, list(zip(model.coefs_, model.intercepts_, strict=True)), size)
    return float(model.score(pixels[count:], classes[count:]))
