#ifndef PATHCOND_PATHCOND_H
#define PATHCOND_PATHCOND_H

/*
 * Path-conditioned rescaling of ReLU networks (arXiv 2602.19799): the solver, for C and whatever
 * calls C. A network of p parameters and H hidden neurons is described by B (p, H) and
 * g = diag(G) (p). The solution u (H) says that what enters neuron h is to be multiplied by
 * exp(u[h] / 2), what leaves it divided.
 *
 * All memory is the caller's: nothing is kept from one call to the next, and there is nothing to
 * free. Any number of threads may solve at once, each with a pathcond_solution of its own. No C++
 * exception leaves a function.
 *
 * Structs begin with their size, by which library and program of different versions understand each
 * other: clear a struct, then set size = sizeof it. Later versions append fields, whose zero means
 * that nothing changes.
 */

#include <stddef.h>
#include <stdint.h>

#include "pathcond/export.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pathcond_result {
  PATHCOND_OK = 0,
  PATHCOND_INVALID_INPUT = 1, /* an argument is unusable, see `message` */
  PATHCOND_NOT_CANONICAL = 2, /* sort the rows of every column, add repeated entries up */
  PATHCOND_OUT_OF_MEMORY = 3,
  PATHCOND_INTERRUPTED = 4, /* `poll` said so */
  PATHCOND_FAILED = 5       /* anything else, see `message` */
} pathcond_result;

typedef enum pathcond_type {
  PATHCOND_INT8 = 1,
  PATHCOND_INT32 = 2,
  PATHCOND_INT64 = 3,
  PATHCOND_FLOAT32 = 4,
  PATHCOND_FLOAT64 = 5
} pathcond_type;

typedef enum pathcond_method {
  PATHCOND_AUTO = 0,  /* exact to rounding */
  PATHCOND_CD = 1,    /* the paper's coordinate descent, neurons in order */
  PATHCOND_NEWTON = 2 /* exact to rounding, by Newton's method alone */
} pathcond_method;

typedef enum pathcond_status {
  PATHCOND_CONVERGED = 0,
  PATHCOND_MAX_SWEEPS = 1,
  PATHCOND_STOPPED_BY_CALLBACK = 2,
  PATHCOND_STALLED = 3 /* rounding allows no further step */
} pathcond_status;

/* B in compressed sparse columns, and g; read during the call only. */
typedef struct pathcond_problem {
  size_t size;
  int64_t rows;        /* p */
  int64_t columns;     /* H */
  int64_t entries;     /* length of indices and values, at least indptr[H] */
  int32_t index_type;  /* of indptr and indices: PATHCOND_INT32 or PATHCOND_INT64 */
  int32_t value_type;  /* of values: any pathcond_type */
  int32_t weight_type; /* of g: PATHCOND_FLOAT32 or PATHCOND_FLOAT64 */
  const void* indptr;  /* H + 1: entries indptr[h] to indptr[h + 1] - 1 belong to column h */
  const void* indices; /* rows, strictly increasing within a column */
  const void* values;  /* +1: the row's parameter leaves neuron h, -1: it enters it; or any reals */
  const void* g;       /* p, finite, >= 0; rows with 0 leave the problem */
} pathcond_problem;

/* After a sweep; on the thread that called. Not 0 stops the solve, which then has succeeded. */
typedef int (*pathcond_callback)(int64_t sweep, double objective, double gradient_norm,
                                 void* user_data);
/* Every few milliseconds; on the thread that called. Not 0 gives up: PATHCOND_INTERRUPTED. */
typedef int (*pathcond_poll)(void* user_data);

/* Start from pathcond_options_init. */
typedef struct pathcond_options {
  size_t size;
  int32_t method;     /* a pathcond_method */
  int32_t threads;    /* at most; the solution does not depend on it */
  double tolerance;   /* on max |dF/du| / p, cd: on the sum of |change of u| in a sweep; negative:
                         1e-12, cd: 1e-2 */
  int64_t max_sweeps; /* negative: 1000, cd: 10 */
  double max_scale;   /* every exp(u[h] / 2) stays within [1 / max_scale, max_scale] */
  const double* u0;   /* H, starting point; NULL: 0 */
  pathcond_callback callback; /* or NULL; must return */
  pathcond_poll poll;         /* or NULL; must return */
  void* user_data;            /* passed on to both */
} pathcond_options;

/* u and frozen say where to write and are set by the caller. When the call fails nothing is written
 * but `message`. */
typedef struct pathcond_solution {
  size_t size;
  double* u;                /* H, u[h] = 2 log lambda_h */
  uint8_t* frozen;          /* H, 1 where no row with g > 0 touches the neuron; or NULL */
  double objective;         /* F(u) = p log sum_i g_i exp((Bu)_i) - sum_i (Bu)_i, rows with g > 0 */
  double initial_objective; /* F(u0) */
  double gradient_norm;     /* max |dF/du| / p at u, recomputed after the last step */
  double passes;            /* reads of the merged weights after the merge */
  int64_t sweeps;           /* sweeps and Newton steps */
  int64_t rows;             /* rows with g > 0 */
  int64_t merged_rows;      /* different rows among them */
  int32_t status;           /* a pathcond_status; not converging is no failure */
  char message[252];        /* why the call failed, "" if it did not */
} pathcond_solution;

/* "0.1.0"; lives as long as the library. */
PATHCOND_API const char* pathcond_version(void);

/* Sets every field to its default; size is sizeof(pathcond_options). */
PATHCOND_API void pathcond_options_init(pathcond_options* options, size_t size);

/* Minimises F. options may be NULL. */
PATHCOND_API pathcond_result pathcond_solve(const pathcond_problem* problem,
                                            const pathcond_options* options,
                                            pathcond_solution* solution);

#ifdef __cplusplus
}
#endif

#endif
