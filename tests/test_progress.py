"""Progress is one line of text: written over in terminals and notebooks, now and then in files."""

import io

from jaxkd._progress import ProgressLine


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, clock):
    with ProgressLine("training", 1000, 200, unit="steps", stream=stream, clock=clock) as line:
        with line.compiling():
            clock.now += 12.34
        for done in range(300, 1001, 100):
            clock.now += 10
            line.update(done, "loss 0.5")
    return stream.getvalue()


def test_a_file_has_a_line_every_half_minute_and_the_compile_time_counts_as_such():
    assert shown(io.StringIO(), Clock()).splitlines() == [
        "training: compiled in 12.3 s",
        "training: 400/1,000 steps, 10 steps/s, 1 min 0 s left, loss 0.5",
        "training: 700/1,000 steps, 10 steps/s, 30 s left, loss 0.5",
        "training: 1,000/1,000 steps, 10 steps/s, in 1 min 20 s, loss 0.5",
    ]


def test_a_terminal_and_a_notebook_have_one_line_that_is_written_over():
    notebook = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    for stream in (Terminal(), notebook()):
        text = shown(stream, Clock())
        first, last, rest = text.split("\n")
        assert rest == ""
        assert [part.strip() for part in first.split("\r")[1:]] == [
            "training: compiling", "training: compiled in 12.3 s"
        ]  # fmt: skip
        assert len(last.split("\r")) == 10
        assert last.split("\r")[-1].strip().endswith("in 1 min 20 s, loss 0.5")


def test_quick_updates_are_not_all_shown_and_no_text_is_no_line():
    stream, clock = Terminal(), Clock()
    line = ProgressLine("teacher", 100_000, unit="records", stream=stream, clock=clock)
    for done in range(1000):
        clock.now += 0.001
        line.update(done + 1)
    assert stream.getvalue().count("\r") == 4
    assert "teacher: 751/100,000 records, 1,000 records/s, 1 min 39 s left" in stream.getvalue()
    stream = io.StringIO()
    with ProgressLine(None, 10, unit="steps", stream=stream) as line:
        line.update(10)
        line.say("nothing")
    assert stream.getvalue() == ""


def test_work_goes_on_where_nobody_can_read_the_line(monkeypatch):
    class Closed(Terminal):
        def flush(self):
            raise BrokenPipeError

    stream = Closed()
    with ProgressLine("training", 10, unit="steps", stream=stream) as line:
        line.say("one")
        line.update(5)
    assert stream.getvalue().count("\r") == 1
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr("sys.stderr", None)
    for stream in (gone, None):
        with ProgressLine("training", 10, unit="steps", stream=stream) as line:
            line.update(10)
