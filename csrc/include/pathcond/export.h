#ifndef PATHCOND_EXPORT_H
#define PATHCOND_EXPORT_H

/* What a shared library shows; all else is hidden. */
#if defined(__GNUC__)
#define PATHCOND_API __attribute__((visibility("default")))
#else
#define PATHCOND_API
#endif

#endif
