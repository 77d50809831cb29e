"""What a figure in SVG shows."""

import xml.etree.ElementTree as ElementTree

from jaxkd.study import Figure


def nodes(figure: Figure) -> list[ElementTree.Element]:
    """Returns the text elements of an SVG figure."""
    root = ElementTree.fromstring(figure.data)
    return list(root.iter("{http://www.w3.org/2000/svg}text"))


def texts(figure: Figure) -> list[str | None]:
    """Returns the texts of an SVG figure."""
    return [node.text for node in nodes(figure)]
