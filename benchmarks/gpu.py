"""Everything that is measured on one GPU, in at most nine minutes.

  python benchmarks/gpu.py --out runs/gpu [--only step fused] [--tiny]

Compares with PyTorch and Liger where they are installed (`pip install torch liger-kernel`); the
tables name what is not installed. The parts, with the goals of an H100 or H200:

  step        a cached step of ResNet-50 and ViT-S over one of plain training: at most 1.05
  pytorch     the same cached step over PyTorch's, compiled, in bfloat16: at least 1.3 times as fast
  fused       fused losses over all logits in JAX and PyTorch and over Liger: at most 1
  population  16 students together over one of them: at most 4
  generation  tokens a second with cached keys and values and without
  cache       building a cache over the teacher's forward passes alone: at most 1.05
  guard       no implicit transfer in a step, no compilation after the first: 0 and 0

Each part runs in a process of its own: one that fails, hangs or runs out of memory does not affect
the others, and one that takes longer than its share of the nine minutes is ended. Its share is the
time that the parts before it left, less the time that is reserved for those after it. The
processes share compiled programs through JAX's persistent cache. JAX takes memory as it needs it
rather than most of the GPU at once, since PyTorch trains in the same process, in alternation with
it, so that both are measured under the same conditions. Compilation and the first runs are not
included.

`--out` gets a JSON and a Markdown table of each part after every row of it, and a summary with the
goals after every part. The exit status is 1 if a part failed. A goal that is not met is no failure;
the table has NO there. `--tiny` runs the same code in sizes for a CPU, whose numbers mean nothing.
"""

import argparse
import importlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MINUTES = 9.0
# Module, title and promised seconds, with the start of the process; together less than MINUTES.
PARTS = {
    "step": ("cached_steps", "A cached step against plain training", 100),
    "pytorch": ("torch_steps", "A cached step here and in PyTorch", 140),
    "fused": ("fused_losses", "Fused losses", 80),
    "population": ("populations", "A population of students against one", 50),
    "generation": ("generated_tokens", "Generating tokens", 60),
    "cache": ("built_caches", "Building a cache", 60),
    "guard": ("guarded_loop", "Transfers and compilations", 40),
}
# Seconds before the end of its share from which a part begins no further pair of timings.
RESERVE = 15


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the results")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU")
    parser.add_argument(
        "--here",
        type=float,
        metavar="SECONDS",
        help="run the parts in this process; so the script calls itself, as do its tests",
    )
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # jaxkd and the other benchmarks, where nothing is installed
    from benchmarks.gpu_parts import results

    if given.here is not None:
        for name in given.only:
            run_here(name, given.out, tiny=given.tiny, seconds=given.here)
    else:
        for name in given.only:
            for path in (given.out / f"{name}.json", given.out / f"{name}.md"):
                path.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as programs:
            run_each(given.only, given.out, programs, tiny=given.tiny)
    fine = results.summarize(given.out, list(PARTS))
    if given.here is None:
        print((given.out / "summary.md").read_text(encoding="utf-8"))
    return int(not fine)


def run_here(name: str, out: pathlib.Path, *, tiny: bool, seconds: float) -> None:
    """Runs a part in this process."""
    until = time.monotonic() + seconds
    from benchmarks.gpu_parts import results, sizes

    module, title, _ = PARTS[name]
    chosen = sizes.TINY if tiny else sizes.FULL
    part = importlib.import_module(f"benchmarks.gpu_parts.{module}")
    about = {**results.environment(), "sizes": "tiny" if tiny else "full"}
    results.record(out, name, title, lambda: part.run(chosen, until), about)


def run_each(names: list[str], out: pathlib.Path, programs: str, *, tiny: bool) -> None:
    """Runs each part in a process of its own, ends the slow ones, and writes the summary."""
    from benchmarks.gpu_parts import results

    end = time.monotonic() + 60 * MINUTES
    environment = {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": programs,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        **os.environ,
    }
    for position, name in enumerate(names):
        promised = sum(PARTS[later][2] for later in names[position + 1 :])
        share = end - time.monotonic() - promised
        print(f"{name}: at most {share:.0f} s", flush=True)
        command = [sys.executable, __file__, "--out", str(out), "--only", name]
        command += ["--here", f"{share - RESERVE:.1f}", *(["--tiny"] if tiny else [])]
        started = time.monotonic()
        why = run_for(command, environment, share)
        if why:
            results.interrupted(out, name, PARTS[name][1], why)
        results.summarize(out, list(PARTS))
        print(f"{name}: {time.monotonic() - started:.0f} s {why}", flush=True)


def run_for(command: list[str], environment: dict[str, str], seconds: float) -> str:
    """Runs a command; why it did not end by itself and well, or nothing."""
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        status = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        # With the processes that it started, PyTorch's compilers for instance.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"ended after its share of {seconds:.0f} s"
    return f"exit status {status}" if status else ""


if __name__ == "__main__":
    sys.exit(main())
