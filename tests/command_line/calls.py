"""Calls of the commands in this process."""

from jaxkd.__main__ import main


def status(*arguments):
    """Runs a command; returns its exit status, which argparse raises."""
    try:
        return main([*map(str, arguments)])
    except SystemExit as ended:
        return ended.code


def asked(data, out, *more, teacher="none", student="mlp"):
    """Returns the arguments of a command on small images."""
    return [
        f"--data={data}", f"--teacher={teacher}", f"--student={student}", f"--out={out}",
        "--size=8", "--batch-size=16", "--quiet", *map(str, more),
    ]  # fmt: skip
