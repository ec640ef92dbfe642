#include "tests/support/postgres_environment.h"

int main(int argc, char** argv) { return latchkey::testing::RunWithPostgres(argc, argv); }
