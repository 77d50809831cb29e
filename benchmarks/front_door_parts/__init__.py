"""Parts of benchmarks/front_door.py: the data, the kills, and the numbers computed again."""
