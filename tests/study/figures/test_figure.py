import re
import xml.etree.ElementTree as ElementTree

import pytest

from jaxkd.study.figures._figure import COLORS, INK, Figure, draw, legend_above

NAME = 'a <b> & "c" $d_e$'


def _paint(figure):
    axes = figure.subplots()
    axes.plot([1, 2, 3], [1, 4, 9], label=NAME)
    axes.bar([1, 2], [3, 4], hatch="//", label="bars")
    legend_above(axes)


def _draw(file_format, paint=_paint):
    return draw(paint, size=(4, 3), alt='x "y" <z>', caption="c", file_format=file_format)


def test_svg_is_well_formed_and_keeps_text_as_text():
    root = ElementTree.fromstring(_draw("svg").data)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert NAME in "".join(root.itertext())


def test_svg_takes_its_ink_from_the_page_and_loads_nothing():
    text = _draw("svg").data.decode()
    assert "currentColor" in text
    assert INK not in text
    assert "<style" not in text
    assert set(re.findall(r"https?://[^\"]+", text)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_names_of_two_figures_never_meet():
    one = _draw("svg").data.decode()
    two = _draw("svg", lambda figure: figure.subplots().plot([1, 2])).data.decode()
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert all(ids)
    assert not ids[0] & ids[1]
    for text, names in zip((one, two), ids, strict=True):
        used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
        assert used
        assert used <= names


@pytest.mark.parametrize("file_format", ["svg", "png"])
def test_the_same_drawing_gives_the_same_bytes(file_format):
    assert _draw(file_format) == _draw(file_format)


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    _draw("png")
    assert dict(matplotlib.rcParams) == before


def test_html_of_an_svg_carries_the_escaped_description():
    html = _draw("svg").to_html()
    assert html.startswith('<svg role="img" aria-label="x &quot;y&quot; &lt;z&gt;" ')


def test_html_of_a_png_is_an_image_inside_the_page():
    figure = _draw("png")
    assert figure.data.startswith(b"\x89PNG")
    html = figure.to_html()
    assert html.startswith('<img src="data:image/png;base64,')
    assert html.endswith(' alt="x &quot;y&quot; &lt;z&gt;">')


def test_write(tmp_path):
    figure = Figure(b"<svg />", "svg", "alt")
    figure.write(tmp_path / "deep" / "a.svg")
    assert (tmp_path / "deep" / "a.svg").read_bytes() == b"<svg />"
    with pytest.raises(ValueError, match=r"is a \.svg file, got the path .*a\.png"):
        figure.write(tmp_path / "a.png")


def test_unknown_format_is_refused():
    with pytest.raises(ValueError, match="'svg' or 'png', got 'pdf'"):
        _draw("pdf")


def _luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("color", COLORS)
def test_colors_stand_out_from_a_light_and_a_dark_page(color):
    # WCAG 2 asks for a contrast of 3 for graphics; the pages are white and #14171b.
    assert (1.0 + 0.05) / (_luminance(color) + 0.05) >= 3
    assert (_luminance(color) + 0.05) / (_luminance("#14171b") + 0.05) >= 3


def test_a_long_legend_makes_the_figure_taller_and_leaves_the_data_its_room():
    def height(names):
        sizes = []

        def paint(figure):
            axes = figure.subplots()
            for name in names:
                axes.plot([1, 2, 3], [1, 4, 9], label=name)
            legend_above(axes)
            figure.draw_without_rendering()
            sizes.append(axes.get_window_extent().height)

        _draw("png", paint)
        return sizes[0]

    wide = [f"distilled at temperature {t} in a long name" for t in range(6)]
    usual = height(["labels"])
    for names in (wide, [f"{name}, {name}" for name in wide], list("abcdef")):
        assert 0.9 * usual < height(names) < 1.15 * usual
