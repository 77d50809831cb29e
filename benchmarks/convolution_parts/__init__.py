"""What `benchmarks/convolutions.py` measures, a module for each part."""
