"""Snakemake that asks about its remote jobs each second: `python fast_polling.py <snakemake's arguments>`.

The Slurm executor waits longer after every look, up to three minutes, and has no option for it: good for a cluster,
too slow for a test.
"""

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda executor: 1, lambda executor, seconds: None)

if __name__ == "__main__":
    main()
