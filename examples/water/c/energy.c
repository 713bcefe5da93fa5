/* Energy, forces and virial of a structure through the C interface of DeePMD-kit:

     energy MODEL STRUCTURE [MODEL ...]

   STRUCTURE is an extended xyz file with the columns element, x, y, z and perhaps a Lattice="...". More models print the
   deviation of their forces. The functions are declared here, because the wheel of DeePMD-kit has no headers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct DP_DeepPot DP_DeepPot;
typedef struct DP_DeepPotModelDevi DP_DeepPotModelDevi;
DP_DeepPot* DP_NewDeepPot(const char* path);
const char* DP_DeepPotCheckOK(DP_DeepPot* model);
double DP_DeepPotGetCutoff(DP_DeepPot* model);
const char* DP_DeepPotGetTypeMap(DP_DeepPot* model);
void DP_DeepPotCompute(DP_DeepPot* model, int atoms, const double* positions, const int* types, const double* cell,
                       double* energy, double* forces, double* virial, double* atom_energies, double* atom_virials);
void DP_DeleteDeepPot(DP_DeepPot* model);
DP_DeepPotModelDevi* DP_NewDeepPotModelDevi(const char** paths, int models);
const char* DP_DeepPotModelDeviCheckOK(DP_DeepPotModelDevi* models);
void DP_DeepPotModelDeviCompute(DP_DeepPotModelDevi* models, int atoms, const double* positions, const int* types,
                                const double* cell, double* energies, double* forces, double* virials,
                                double* atom_energies, double* atom_virials);
void DP_DeleteDeepPotModelDevi(DP_DeepPotModelDevi* models);
void DP_DeleteChar(const char* text);

/* Ends the program if the interface has something to complain of. */
static void demand(const char* complaint) {
  if (complaint[0] != '\0') {
    fprintf(stderr, "energy: error: %s\n", complaint);
    exit(1);
  }
  DP_DeleteChar(complaint);
}

/* Position of an element in the names of the model, which are separated by blanks; -1 if it is none of them. */
static int type_of(const char* element, const char* names) {
  int type = 0;
  for (const char* name = names; *name != '\0'; ++type) {
    size_t length = strcspn(name, " ");
    if (length == strlen(element) && strncmp(name, element, length) == 0) return type;
    name += length + strspn(name + length, " ");
  }
  return -1;
}

int main(int count, char** words) {
  if (count < 3) {
    fprintf(stderr, "usage: energy MODEL STRUCTURE [MODEL ...]\n");
    return 2;
  }
  DP_DeepPot* model = DP_NewDeepPot(words[1]);
  demand(DP_DeepPotCheckOK(model));
  const char* names = DP_DeepPotGetTypeMap(model);
  printf("cutoff %g A, types %s\n", DP_DeepPotGetCutoff(model), names);

  FILE* file = fopen(words[2], "r");
  char line[4096], element[8];
  int atoms;
  if (file == NULL || fgets(line, sizeof line, file) == NULL || sscanf(line, "%d", &atoms) != 1 || atoms < 1 ||
      fgets(line, sizeof line, file) == NULL)
    demand("the structure must be an extended xyz file");
  double cell[9];
  const char* lattice = strstr(line, "Lattice=\"");
  if (lattice != NULL) {
    char* rest = (char*)lattice + strlen("Lattice=\"");
    for (int k = 0; k < 9; ++k) cell[k] = strtod(rest, &rest);
  }
  double* positions = malloc(3 * atoms * sizeof(double));
  int* types = malloc(atoms * sizeof(int));
  for (int i = 0; i < atoms; ++i) {
    double* at = positions + 3 * i;
    if (fgets(line, sizeof line, file) == NULL ||
        sscanf(line, "%7s %lf %lf %lf", element, at, at + 1, at + 2) != 4 || (types[i] = type_of(element, names)) < 0)
      demand("an atom has no position, or an element that the model does not know");
  }
  fclose(file);
  DP_DeleteChar(names);

  double energy, virial[9];
  double* forces = malloc(3 * atoms * sizeof(double));
  DP_DeepPotCompute(model, atoms, positions, types, lattice == NULL ? NULL : cell, &energy, forces, virial, NULL, NULL);
  demand(DP_DeepPotCheckOK(model));
  printf("energy %.8f eV\n", energy);
  for (int i = 0; i < atoms; ++i)
    printf("force %d %.8f %.8f %.8f eV/A\n", i, forces[3 * i], forces[3 * i + 1], forces[3 * i + 2]);
  printf("virial");
  for (int k = 0; k < 9; ++k) printf(" %.8f", virial[k]);
  printf(" eV\n");
  DP_DeleteDeepPot(model);

  int models = count - 2;
  if (models > 1) {
    const char** paths = malloc(models * sizeof(char*));
    paths[0] = words[1];
    for (int k = 1; k < models; ++k) paths[k] = words[k + 2];
    DP_DeepPotModelDevi* committee = DP_NewDeepPotModelDevi(paths, models);
    demand(DP_DeepPotModelDeviCheckOK(committee));
    double* energies = malloc(models * sizeof(double));
    double* all = malloc(3 * (size_t)models * atoms * sizeof(double));
    double* virials = malloc(9 * models * sizeof(double));
    DP_DeepPotModelDeviCompute(committee, atoms, positions, types, lattice == NULL ? NULL : cell, energies, all, virials,
                               NULL, NULL);
    demand(DP_DeepPotModelDeviCheckOK(committee));
    double largest = 0.0;
    for (int i = 0; i < 3 * atoms; i += 3) {
      double square = 0.0;
      for (int axis = 0; axis < 3; ++axis) {
        double mean = 0.0;
        for (int k = 0; k < models; ++k) mean += all[3 * k * atoms + i + axis] / models;
        for (int k = 0; k < models; ++k) {
          double off = all[3 * k * atoms + i + axis] - mean;
          square += off * off / models;
        }
      }
      if (square > largest) largest = square;
    }
    printf("largest squared deviation of a force %.8g eV^2/A^2\n", largest);
    DP_DeleteDeepPotModelDevi(committee);
    free(paths), free(energies), free(all), free(virials);
  }
  free(positions), free(types), free(forces);
  return 0;
}
