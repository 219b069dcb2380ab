/* Solves for a network of two hidden neurons in a row, x -> a -> b -> y, with a bias each. */

#include <pathcond/pathcond.h>
#include <stdio.h>
#include <string.h>

/* Parameters: weight into a, bias of a, weight from a into b, bias of b, weight out of b. */
static const int32_t indptr[] = {0, 3, 6};
static const int32_t indices[] = {0, 1, 2, /* a */ 2, 3, 4 /* b */};
static const int8_t values[] = {-1, -1, 1, /* a */ -1, -1, 1 /* b */};
static const double g[] = {4.0, 1.0, 0.5, 2.0, 0.25};

static int report(int64_t sweep, double objective, double gradient_norm, void* stream) {
  fprintf((FILE*)stream, "sweep %d: objective %.6f, gradient %.1e\n", (int)sweep, objective,
          gradient_norm);
  return 0; /* go on */
}

int main(void) {
  pathcond_problem problem;
  pathcond_options options;
  pathcond_solution solution;
  double u[2];
  int h;

  memset(&problem, 0, sizeof problem);
  problem.size = sizeof problem;
  problem.rows = 5;
  problem.columns = 2;
  problem.entries = 6;
  problem.index_type = PATHCOND_INT32;
  problem.value_type = PATHCOND_INT8;
  problem.weight_type = PATHCOND_FLOAT64;
  problem.indptr = indptr;
  problem.indices = indices;
  problem.values = values;
  problem.g = g;

  pathcond_options_init(&options, sizeof options);
  options.callback = report;
  options.user_data = stderr;

  memset(&solution, 0, sizeof solution);
  solution.size = sizeof solution;
  solution.u = u;

  if (pathcond_solve(&problem, &options, &solution) != PATHCOND_OK) {
    fprintf(stderr, "pathcond %s: %s\n", pathcond_version(), solution.message);
    return 1;
  }
  for (h = 0; h < 2; ++h) printf("u %.17g\n", u[h]);
  printf("objective %.17g\n", solution.objective);
  return solution.status == PATHCOND_CONVERGED ? 0 : 1;
}
