#include "tests/support/postgres_environment.h"
#include "tests/support/server_fixture.h"

int main(int argc, char** argv) {
  latchkey::testing::StopSharedDevServerAtEnd();
  return latchkey::testing::RunWithPostgres(argc, argv);
}
