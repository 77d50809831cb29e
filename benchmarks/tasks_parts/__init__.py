"""The parts of `benchmarks/tasks.py`: data and networks of each task, and what they share."""
