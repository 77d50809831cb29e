"""The commands on the pages: every program, command and option of the library is a real one."""

import importlib
import pathlib
import re
import shlex

import pytest

from experiments.common import flag_help, launch
from jaxkd.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
COMMAND = re.compile(
    r"(?:python -m jaxkd\.(?P<module>cache|export)|(?:^jaxkd|python -m jaxkd) (?P<command>[a-z]+)\b"
    r"|python -m experiments\.(?P<experiment>\w+))(?P<rest>[^`#;&|)]*)"
)


def commands():
    """Program, and the words after it, of every command in a block of the shell or in a line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for code in re.findall(r"^```sh\n(.*?)^```|`([^`]+)`", text, re.S | re.M):
            for line in (code[0] or code[1].replace("\n", " ")).splitlines():
                for found in COMMAND.finditer(line):
                    command = found["module"] or found["command"]
                    kind = "library" if command else "experiment"
                    yield page.name, kind, command or found["experiment"], words(found["rest"])


def words(rest):
    return [word for word in shlex.split(rest.replace("'", "").replace('"', "")) if word != "…"]


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code in (0, None), arguments
    return capsys.readouterr().out.replace("_", "-")


def test_every_option_of_the_command_line_on_a_page_exists(capsys):
    wrong, texts = [], {}
    for page, kind, command, rest in commands():
        if kind == "library":
            # The commands of caches have options of their own.
            inner = [word for word in rest[:1] if command == "cache" and word.isalpha()]
            names = (command, *inner)
            if names not in texts:
                texts[names] = help_of(capsys, *names)
            options = {word.partition("=")[0] for word in rest if word.startswith("--")}
            wrong += [
                (page, names, option)
                for option in options - {"--help"}
                if not re.search(rf"{option.replace('_', '-')}\b(?!-)", texts[names])
            ]
    assert {names[0] for names in texts} == {"distill", "tune", "report", "cache", "export"}
    assert not wrong


def test_every_flag_of_an_experiment_on_a_page_exists():
    seen = set()
    known = {flag.name for flag in launch.flags.FLAGS.flags_by_module_dict()[launch.__name__]}
    for page, kind, name, rest in commands():
        module = ROOT / "experiments" / name / "config.py"
        if kind != "experiment" or name == "datasets":
            continue
        assert module.exists(), (page, name)
        config = importlib.import_module(f"experiments.{name}.config").Config()
        flag_help.check_fields(rest, config)
        given = {word.lstrip("-").partition("=")[0] for word in rest if word.startswith("--")}
        assert {flag for flag in given if "." not in flag} <= known | {"workdir", "help"}, page
        seen.add(name)
    assert len(seen) > 8
