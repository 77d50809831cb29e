"""What `import jaxkd` costs beyond the libraries that it stands on.

  python benchmarks/import_time.py [--pairs 10]

Runs fresh interpreters, interleaved, and prints the median ratio, with the lowest and the highest.
"""

import argparse
import statistics
import subprocess
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=10)
    pairs = parser.parse_args().pairs
    _seconds("import jaxkd")  # so that files are in memory and compiled
    ratios = []
    for _ in range(pairs):
        base = _seconds("import jax, flax.nnx, optax")
        ratios.append(_seconds("import jaxkd") / base)
    print(
        f"import jaxkd takes {statistics.median(ratios):.3f} times as long as import jax, "
        f"flax.nnx, optax (lowest {min(ratios):.3f}, highest {max(ratios):.3f}, {pairs} pairs)"
    )


def _seconds(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
