"""The parts of `benchmarks/gpu.py`: each module's `run(sizes, until)` yields its rows."""
