"""How the tests compile, which takes most of their time, and how long their devices wait.

With fast compilation: the programs compute the same up to rounding, in less optimized machine code.
"""

import jax

_FAST = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": "true",
    "xla_cpu_parallel_codegen_split_count": "1",
}
if jax.__version_info__ < (0, 11):
    # The older of two code generators compiles in a third of the time; a newer XLA has but one.
    _FAST["xla_cpu_use_fusion_emitters"] = "false"
# Simulated devices wait for each other, on a busy machine longer than the 40 s until XLA aborts.
_PATIENT = {"xla_cpu_collective_call_terminate_timeout_seconds": "600"}


def xla_flags(given: str, devices: int | None = None) -> str:
    """Adds fast compilation and CPU devices to `XLA_FLAGS`, unless they are set there."""
    flags = dict(_FAST)
    if devices:
        flags |= {"xla_force_host_platform_device_count": str(devices), **_PATIENT}
    own = [f"--{name}={value}" for name, value in flags.items() if f"--{name}=" not in given]
    return " ".join([given, *own])
