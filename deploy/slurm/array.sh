#!/bin/bash
#SBATCH --job-name=cmbnet
#SBATCH --array=1-20
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
# A job array: each job analyses its part of the subjects. A job that is started again skips what
# is finished.
#   sbatch deploy/slurm/array.sh study study/derivatives/cmbnet
#   cmbnet bids study study/derivatives/cmbnet group      # when all jobs are done
# Research use only. Not a medical device. Not for diagnosis.
set -eu
bids_dir=$1
output_dir=$2
shift 2 # further words are options of cmbnet bids
threads=${SLURM_CPUS_PER_TASK:-1}
cmbnet bids "$bids_dir" "$output_dir" participant --shard array --threads "$threads" "$@"
