"""Which networks export to which formats: converted, verified, and how fast.

  pip install 'jaxkd-distill[experiments,litert]'        in one environment
  pip install 'jaxkd-distill[experiments,onnx-export]'   in another
  python benchmarks/export.py --formats stablehlo litert litert_int8
  python benchmarks/export.py --formats onnx
  python benchmarks/export.py --formats                  the page alone

Every network of `jaxkd.models`, at random weights, takes enlarged digits of scikit-learn, at 32×32
pixels where it is made for such and at 64×64 otherwise (Inception 96×96). The statistics of its
normalizations are those of 20 batches, so that the logits differ between images as those of a
trained network do. `export` refuses what is not the network; of int8, which rounds, equal classes
are asked for in 90 % of the images. Latency is that of one image in one thread.

Results are kept in benchmarks/export.json network by network: an interrupted run goes on, and what
is there is not measured again. A network is exported in a process of its own.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd._files import write_atomically
from jaxkd.data import digits
from jaxkd.export import edge, export
from jaxkd.study import Table

PAGE = pathlib.Path(__file__).with_suffix(".md")
RESULTS = PAGE.with_suffix(".json")
FORMATS = {
    "stablehlo": "StableHLO",
    "litert": "LiteRT, float",
    "litert_int8": "LiteRT, int8",
    "onnx": "ONNX, float",
}
EXAMPLES, BATCH, BATCHES, CALLS, AGREEMENT = 16, 16, 20, 30, 0.9


def side_of(name: str) -> int:
    entry = models.entry(name)
    if entry.image_size == 32:
        return 32
    return 96 if entry.family == "inception" else 64


def images(side: int) -> np.ndarray:
    few = digits.load("train").inputs[: EXAMPLES + BATCH * BATCHES].astype(np.float32)
    large = jax.image.resize(few, (len(few), side, side, few.shape[-1]), "bilinear")
    return np.repeat((np.asarray(large) - 80.0) / 90.0, 3, -1)


def settled(network: jaxkd.Network, inputs: np.ndarray) -> jaxkd.Network:
    """Returns a network whose statistics are those of the inputs."""
    key, state = jax.random.key(0), network.state
    step = jax.jit(lambda state, x: network.apply(network.params, state, x, train=True, key=key)[1])
    for number in range(BATCHES if jax.tree.leaves(state) else 0):
        state = step(state, inputs[number * BATCH : (number + 1) * BATCH])
    return network.replace(params=network.params, state=state)


def measure(name: str, formats: list[str]) -> None:
    """Exports one network, and adds what comes of each format to the results."""
    side = side_of(name)
    inputs = images(side)
    model = models.create(name, num_classes=10, image_size=side, rngs=nnx.Rngs(0))
    network = settled(jaxkd.from_nnx(model), inputs[EXAMPLES:])
    for kind in formats:
        with tempfile.TemporaryDirectory() as folder:
            keep(name, kind, {"side": side} | result(network, inputs[:EXAMPLES], kind, folder))


def result(network: jaxkd.Network, inputs: np.ndarray, kind: str, folder: str) -> dict[str, Any]:
    try:
        options = {"formats": [kind], "int8_agreement": AGREEMENT}
        done = export(pathlib.Path(folder, "x"), network, inputs, **options)
    except ValueError as error:  # ExportError, too
        return {"reason": " ".join(str(error).split())[:300]}
    check, runner = done.checks[kind], edge.load(done.files[kind])
    times = edge.latency(runner, inputs[:1], repeats=CALLS, warmup=3)
    return {
        "largest": check.largest,
        "agreement": check.agreement,
        "bytes": done.files[kind].stat().st_size,
        "ms": [round(float(x), 4) for x in np.percentile(times, (50, 10, 90)) * 1e3],
        "software": runner.software,
    }


def known() -> dict[str, dict[str, Any]]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def keep(name: str, kind: str, found: dict[str, Any]) -> None:
    results = known()
    results.setdefault(name, {})[kind] = found
    write_atomically(RESULTS, json.dumps(results, indent=1) + "\n")
    print(name, kind, found, flush=True)


def run(names: list[str], formats: list[str]) -> None:
    for name in names:
        if missing := [kind for kind in formats if kind not in known().get(name, {})]:
            command = [sys.executable, __file__, "--child", "--only", name, "--formats", *missing]
            status = subprocess.run(command, check=False).returncode
            if status < 0:  # a signal: a converter has crashed at the first format without a result
                broken = next(kind for kind in missing if kind not in known().get(name, {}))
                keep(name, broken, {"reason": f"the process ended with signal {-status}"})
                run([name], formats)
            elif status:
                raise SystemExit(f"{name} failed; what is measured is in {RESULTS}")


def write_page() -> None:
    results = known()
    rows, reasons = [], []
    for name in (name for name in models.names() if name in results):
        cells = []
        for kind, title in FORMATS.items():
            found = results[name].get(kind)
            if found is None:
                cells.append("not run")
            elif "reason" in found:
                cells.append(f"no [{len(reasons) + 1}]")
                reasons.append(f"{name}, {title}: {found['reason']}")
            else:
                median, low, high = found["ms"]
                equal = f", {found['agreement']:.0%} equal" if kind == "litert_int8" else ""
                cells.append(f"{median:.2f} ({low:.2f} to {high:.2f}){equal}")
        side = next(iter(results[name].values()))["side"]
        rows.append([name, f"{side}×{side}", *cells])
    software = {found.get("software") for name in results for found in results[name].values()}
    note = (
        "Latency of one image in ms where converted and verified, in one thread (of StableHLO in "
        f"those that JAX takes), median (10th to 90th percentile of {CALLS} calls), else no [n] "
        "with the reason below. Verified "
        f"on {EXAMPLES} images in a fresh process: no logit differs by more than 1e-4 and every "
        f"class is the network's; of int8 at least {AGREEMENT:.0%} of the classes. "
        f"{'; '.join(sorted(filter(None, software)))}; {edge.describe_machine()}."
    )
    table = Table("Networks and formats", ["Network", "Images", *FORMATS.values()], rows, note)
    table.print()
    lines = [f"# {table.title}", "", table.to_markdown(), "", note, ""]
    lines += [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    write_atomically(PAGE, "\n".join(lines).strip() + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="names of networks with commas, by default all")
    parser.add_argument("--formats", nargs="*", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.only.split(",") if given.only else models.names()
    if given.child:
        measure(names[0], given.formats)
        return
    run(names, given.formats)
    write_page()


if __name__ == "__main__":
    main()
