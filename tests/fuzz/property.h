#pragma once

#include <cstdio>
#include <cstdlib>

// Property that a fuzz target asserts: ends the process by SIGABRT unless it holds, which libFuzzer and the replay of
// the corpus take for a find.
#define PROPERTY(condition)                                                               \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)
