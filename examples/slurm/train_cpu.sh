#!/bin/bash
# One process on the cores of a CPU node. Start with: sbatch train_cpu.sh input.json
#SBATCH --job-name=dpa4-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
set -eu
input=${1:-input.json}
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
# compiles the native kernels for the processor of this node, once; later jobs find them
dpa4 build

# goes on where an earlier job of this folder was interrupted
more=()
if [ -f checkpoint ]; then more=(--restart "$(cat checkpoint)"); fi
# Slurm hands the cores of a task on to srun only if they are named again
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" dp --pt train "$input" "${more[@]}"
