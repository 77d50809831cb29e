"""The configuration of an experiment as its flags would make it, without a process of its own."""

from absl import flags
from ml_collections import config_flags


def chosen(config, options):
    """The default configuration with options such as `--config.seeds=2`, parsed as launch does."""
    # Flags of launch, which an experiment reads, keep their defaults.
    flags.FLAGS.mark_as_parsed()
    values = flags.FlagValues()
    line = ["test", *options]
    holder = config_flags.DEFINE_config_dataclass(
        "config", config, flag_values=values, sys_argv=line
    )
    values(line)
    return holder.value
