"""What `benchmarks/tpu_compile.py` compiles, measures and reports, a module for each part."""
