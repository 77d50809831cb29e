"""Images of three kinds of objects, and an ONNX teacher that tells them apart by their colors."""

import pathlib

import numpy as np

KINDS = ("disc", "square", "triangle")


def write_images(root: pathlib.Path, count: int, size: int = 24) -> pathlib.Path:
    """Writes JPEGs of odd sizes, a folder for each kind."""
    from PIL import Image, ImageDraw

    generator = np.random.default_rng(0)
    for number in range(count):
        kind = number % len(KINDS)
        width, height = (int(size + generator.integers(0, size)) for _ in range(2))
        image = Image.new("RGB", (width, height), tuple(generator.integers(60, 120, 3).tolist()))
        color = generator.integers(0, 140, 3)
        color[kind] += 90
        box = [0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]
        draw, fill = ImageDraw.Draw(image), tuple(color.tolist())
        if KINDS[kind] == "disc":
            draw.ellipse(box, fill)
        elif KINDS[kind] == "square":
            draw.rectangle(box, fill)
        else:
            draw.polygon([(box[0], box[3]), (box[2], box[3]), (width / 2, box[1])], fill)
        (root / KINDS[kind]).mkdir(parents=True, exist_ok=True)
        image.save(root / KINDS[kind] / f"{number}.jpg")
    return root


def write_teacher(file: pathlib.Path, classes: int = 3) -> pathlib.Path:
    """Writes a teacher whose logits are differences of mean colors."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = 30.0 * (np.eye(3, classes) - 1 / 3)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["means"]),
            helper.make_node("Flatten", ["means"], ["colors"]),
            helper.make_node("MatMul", ["colors", "weights"], ["logits"]),
        ],
        "teacher",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=8), file)
    return file
