#include "client/core/permissions.h"

#include <algorithm>

namespace latchkey::core {

bool IsPermission(std::string_view permission) {
  if (permission == "*") return true;
  if (permission.empty() || permission.size() > kMaxPermissionLength) return false;
  if (permission.size() > 2 && permission.substr(permission.size() - 2) == ".*") permission.remove_suffix(2);
  bool segment_started = false;
  for (const char c : permission) {
    if (c == '.') {
      if (!segment_started) return false;
      segment_started = false;
    } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-') {
      segment_started = true;
    } else {
      return false;
    }
  }
  return segment_started;
}

bool Covers(std::string_view held, std::string_view asked) {
  if (held == "*" || held == asked) return true;
  if (held.size() < 2 || held.substr(held.size() - 2) != ".*") return false;
  const std::string_view prefix = held.substr(0, held.size() - 1);  // Keeps the dot, so that `a.*` does not cover `ab`.
  return asked.size() > prefix.size() && asked.substr(0, prefix.size()) == prefix;
}

bool Covers(const std::vector<std::string>& held, std::string_view asked) {
  return std::any_of(held.begin(), held.end(), [asked](const std::string& one) { return Covers(one, asked); });
}

bool AtMost(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::all_of(a.begin(), a.end(), [&b](const std::string& one) { return Covers(b, one); });
}

std::vector<std::string> Normalised(std::vector<std::string> permissions) {
  std::sort(permissions.begin(), permissions.end());
  permissions.erase(std::unique(permissions.begin(), permissions.end()), permissions.end());
  std::vector<std::string> kept;
  for (const std::string& one : permissions) {
    const bool covered = std::any_of(permissions.begin(), permissions.end(), [&one](const std::string& other) {
      return other != one && Covers(std::string_view(other), one);
    });
    if (!covered) kept.push_back(one);
  }
  return kept;
}

}  // namespace latchkey::core
