"""Analyse a BIDS data set with Dask workers that SLURM starts.

    python deploy/slurm/dask_cluster.py study study/derivatives/cmbnet

needs `pip install '.[dask]' dask-jobqueue`. Words after the folders are options of `cmbnet bids`.
Research use only. Not a medical device. Not for diagnosis.
"""

import subprocess
import sys

from dask_jobqueue import SLURMCluster

JOBS = 20

if __name__ == "__main__":
    with SLURMCluster(
        cores=4,
        # One process a job: its 4 threads are the share of cores that the network takes.
        processes=1,
        memory="4GB",
        walltime="04:00:00",
        job_script_prologue=["export OPENBLAS_NUM_THREADS=1"],
    ) as cluster:
        cluster.adapt(maximum_jobs=JOBS)
        bids_dir, output_dir, *options = sys.argv[1:]
        words = [bids_dir, output_dir, "participant", "--dask", cluster.scheduler_address]
        done = subprocess.run([sys.executable, "-m", "cmbnet", "bids", *words, *options])
    sys.exit(done.returncode)
