// Usage: latchkey_smoke_client HOST:PORT VERIFIER_KEY_FILE FILE_WITH_THE_KEY_TO_VERIFY
//
// Verifies one key with the C++ client and prints the answer. Exits with 0 allowed, 1 denied, 2 could not decide.
#include <fstream>
#include <iostream>
#include <string>

#include "latchkey/verifier.h"

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: latchkey_smoke_client HOST:PORT VERIFIER_KEY_FILE KEY_FILE\n";
    return 2;
  }
  absl::StatusOr<std::unique_ptr<latchkey::Verifier>> verifier =
      latchkey::Verifier::Connect({.server = argv[1], .key_file = argv[2]});
  std::string key;
  if (!verifier.ok() || !std::getline(std::ifstream(argv[3]), key)) {
    std::cerr << "cannot start: " << verifier.status() << "\n";
    return 2;
  }
  const latchkey::Answer answer = (*verifier)->Verify(key);
  if (answer.undecided()) {
    std::cout << "undecided: " << answer.error() << "\n";
    return 2;
  }
  if (answer.denied()) {
    std::cout << "denied: " << latchkey::DecisionName(answer.decision()) << "\n";
    return 1;
  }
  const latchkey::Identity& who = answer.identity();
  std::cout << "allowed: " << who.name() << " \"" << who.display_name() << "\", role " << who.role() << "\n";
  return 0;
}
