"""Whether the faults of `mutations.py` can still be put into the code; without running anything."""

import pathlib

import pytest
from mutation_faults import FAULTS
from mutations import ROOT, mutated


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_code_and_names_tests_that_exist(fault):
    assert fault.old != fault.new
    text = mutated(fault, (ROOT / fault.file).read_text(encoding="utf-8"))
    compile(text, fault.file, "exec")
    for test in fault.tests:
        file, _, name = test.partition("::")
        source = pathlib.Path(ROOT, file).read_text(encoding="utf-8")
        assert not name or f"def {name.partition('[')[0]}(" in source, test


def test_each_fault_has_a_name_of_its_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 20
