#!/bin/bash
# One node with several GPUs: a process for each. Start with: sbatch train_node.sh input.json
#SBATCH --job-name=dpa4-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
set -eu
input=${1:-input.json}
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / SLURM_GPUS_ON_NODE))

# goes on where an earlier job of this folder was interrupted
more=()
if [ -f checkpoint ]; then more=(--restart "$(cat checkpoint)"); fi
# Slurm hands the cores of a task on to srun only if they are named again
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" torchrun --standalone --nproc_per_node="$SLURM_GPUS_ON_NODE" --no-python \
    dp --pt train "$input" "${more[@]}"
