// Reads a key string from stdin and prints whether it is good:
//   example 127.0.0.1:50051 verifier.key < incoming.key
#include <iostream>
#include <string>

#include "latchkey/verifier.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: example SERVER KEY_FILE < key\n";
    return 2;
  }
  const auto verifier = latchkey::Verifier::Connect({.server = argv[1], .key_file = argv[2]});
  if (!verifier.ok()) {
    std::cerr << verifier.status() << "\n";
    return 2;
  }
  std::string key;
  std::getline(std::cin, key);

  const latchkey::Answer answer = (*verifier)->Verify(key, {.required_permissions = {"app.read"}});
  if (answer.undecided()) {
    std::cout << "undecided: " << answer.error() << "\n";
    return 2;
  }
  if (!answer.allowed()) {
    std::cout << "denied: " << latchkey::DecisionName(answer.decision()) << "\n";
    return 1;
  }
  std::cout << "allowed: " << answer.identity().display_name() << ", " << answer.identity().role() << "\n";
  return 0;
}
