#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace latchkey::core {

// Permissions: dot-separated lower-case segments (`app.pages.publish`), or ends in `.*`, or is `*`. `a.*` covers
// `a.b` and `a.b.*`, not `a`. Sets are normalised: sorted, without duplicates and without members another one covers.

inline constexpr size_t kMaxPermissionLength = 128;
inline constexpr size_t kMaxPermissionsPerRole = 256;

// True if `permission` has the form above and at most kMaxPermissionLength bytes. Segments are [a-z0-9_-]+.
bool IsPermission(std::string_view permission);

// True if holding `held` gives `asked`.
bool Covers(std::string_view held, std::string_view asked);

// True if some member of `held` covers `asked`.
bool Covers(const std::vector<std::string>& held, std::string_view asked);

// a ≤ b: every member of `a` is covered by one of `b`. Sets that are incomparable are not ≤ in either direction.
bool AtMost(const std::vector<std::string>& a, const std::vector<std::string>& b);

// Sorted, without duplicates and without members that another one covers.
std::vector<std::string> Normalised(std::vector<std::string> permissions);

}  // namespace latchkey::core
