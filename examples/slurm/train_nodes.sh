#!/bin/bash
# Several nodes with several GPUs each: sbatch --nodes=4 train_nodes.sh input.json
#SBATCH --job-name=dpa4-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
set -eu
input=${1:-input.json}
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / SLURM_GPUS_ON_NODE))

more=()
if [ -f checkpoint ]; then more=(--restart "$(cat checkpoint)"); fi
# one launcher on each node; they meet at the first node of the job
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
# Slurm hands the cores of a task on to srun only if they are named again
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" torchrun --nnodes="$SLURM_JOB_NUM_NODES" --nproc_per_node="$SLURM_GPUS_ON_NODE" \
    --rdzv_id="$SLURM_JOB_ID" --rdzv_backend=c10d --rdzv_endpoint="$first:$port" --no-python \
    dp --pt train "$input" "${more[@]}"
