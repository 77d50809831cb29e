"""Cases of benchmarks/outside.py: what one writes for other libraries, and what is compared."""
