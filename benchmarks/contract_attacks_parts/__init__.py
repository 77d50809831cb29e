"""The parts of `benchmarks/contract_attacks.py`: attacks, placements, races, work directories."""
