// Shows our key format to differential_test.py: commands on standard input, answers on standard output.
//   ring         a new key ring's JSON in one line (the rest uses it)
//   mint [LABEL] a fresh key string
//   check TEXT   MALFORMED, or WELL_FORMED kid gen tag-ok|tag-bad|tag-unknown
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "client/core/key_format.h"
#include "server/keys/crypto/key_ring.h"

int main() {
  const latchkey::keys::KeyRing ring = latchkey::keys::KeyRing::Generate();
  std::string line;
  while (std::getline(std::cin, line)) {
    if (line == "ring") {
      std::cout << nlohmann::json::parse(ring.Serialise().Expose()).dump() << "\n";
    } else if (line.rfind("mint", 0) == 0) {
      std::cout << ring.Mint(line.size() > 5 ? line.substr(5) : "").Expose() << "\n";
    } else if (line.rfind("check ", 0) == 0) {
      const std::string text = line.substr(6);
      const std::optional<latchkey::core::KeyParts> parts = latchkey::core::ParseKeyString(text);
      if (!parts) {
        std::cout << "MALFORMED\n";
        continue;
      }
      using Check = latchkey::keys::KeyRing::TagCheck;
      const Check check = ring.CheckTag(*parts);
      std::cout << "WELL_FORMED " << parts->kid << " " << parts->gen << " "
                << (check == Check::kMinted   ? "tag-ok"
                    : check == Check::kForged ? "tag-bad"
                                              : "tag-unknown")
                << "\n";
    } else {
      std::cerr << "unknown command\n";
      return 2;
    }
    std::cout.flush();
  }
}
