#include "client/core/cidr.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace latchkey::core {
namespace {

constexpr uint8_t kBits = 128;
constexpr uint8_t kIpv4Prefix = 96;
constexpr IpAddress kIpv4Start = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
constexpr std::string_view kWanted =
    "must be an address block such as \"10.0.0.0/8\" or \"2001:db8::/32\", or one IPv4 or IPv6 address";

// 0..128 in decimal, no sign, no leading zeros.
std::optional<uint8_t> ParseBits(std::string_view text) {
  if (text.empty() || text.size() > 3 || (text[0] == '0' && text.size() > 1)) return std::nullopt;
  int bits = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    bits = bits * 10 + (c - '0');
  }
  if (bits > kBits) return std::nullopt;
  return static_cast<uint8_t>(bits);
}

bool SamePrefix(const IpAddress& a, const IpAddress& b, uint8_t bits) {
  const size_t bytes = bits / 8;
  if (std::memcmp(a.data(), b.data(), bytes) != 0) return false;
  return bits % 8 == 0 || (a[bytes] ^ b[bytes]) >> (8 - bits % 8) == 0;
}

IpAddress Truncated(IpAddress address, uint8_t bits) {
  for (size_t i = 0; i < address.size(); ++i) {
    const int kept = std::clamp(bits - static_cast<int>(i) * 8, 0, 8);
    address[i] &= static_cast<uint8_t>(0xff << (8 - kept));
  }
  return address;
}

bool IsIpv4(const IpAddress& address) { return SamePrefix(address, kIpv4Start, kIpv4Prefix); }

// Not inet_ntop: it writes some blocks of IPv6 with a dotted quad, which RFC 5952 §5 wants for IPv4 only.
std::string Ipv6Text(const IpAddress& address) {
  std::array<int, 8> groups;
  for (int i = 0; i < 8; ++i) groups[i] = address[2 * i] << 8 | address[2 * i + 1];
  int gap_at = 0;
  int gap = 1;  // RFC 5952 §4.2: the longest run of two or more zero groups, the first of equals.
  for (int i = 0, run = 0; i < 8; ++i) {
    run = groups[i] == 0 ? run + 1 : 0;
    if (run > gap) {
      gap = run;
      gap_at = i + 1 - run;
    }
  }
  std::string out;
  for (int i = 0; i < 8; ++i) {
    if (gap > 1 && i == gap_at) {
      out += "::";
      i += gap - 1;
      continue;
    }
    if (!out.empty() && out.back() != ':') out += ':';
    absl::StrAppend(&out, absl::Hex(groups[i]));
  }
  return out;
}

}  // namespace

std::optional<IpAddress> ParseIp(std::string_view text) {
  char terminated[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof(terminated) || text.find('\0') != std::string_view::npos) return std::nullopt;
  text.copy(terminated, text.size());
  terminated[text.size()] = '\0';
  IpAddress address = kIpv4Start;
  if (inet_pton(AF_INET, terminated, address.data() + kIpv4Prefix / 8) == 1) return address;
  if (inet_pton(AF_INET6, terminated, address.data()) == 1) return address;
  return std::nullopt;
}

absl::StatusOr<Cidr> Cidr::Parse(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string_view address_text = text.substr(0, slash);
  const std::optional<IpAddress> address = ParseIp(address_text);
  if (!address.has_value()) return absl::InvalidArgumentError(std::string(kWanted));
  uint8_t prefix = kBits;
  if (slash != std::string_view::npos) {
    const std::optional<uint8_t> bits = ParseBits(text.substr(slash + 1));
    // The text decides what the number counts: "::ffff:10.0.0.0/104" is "10.0.0.0/8".
    const uint8_t skipped = address_text.find(':') == std::string_view::npos ? kIpv4Prefix : 0;
    if (!bits.has_value() || *bits > kBits - skipped) {
      return absl::InvalidArgumentError(absl::StrCat("must have a prefix length of 0 to ", kBits - skipped));
    }
    prefix = static_cast<uint8_t>(*bits + skipped);
  }
  Cidr block;
  block.base_ = Truncated(*address, prefix);
  block.prefix_ = prefix;
  if (block.base_ != *address) {
    return absl::InvalidArgumentError(
        absl::StrCat("must not have bits set below its prefix: the block is \"", block.ToString(), "\""));
  }
  return block;
}

bool Cidr::Contains(const IpAddress& address) const { return SamePrefix(base_, address, prefix_); }

bool Cidr::Covers(const Cidr& other) const { return prefix_ <= other.prefix_ && Contains(other.base_); }

std::string Cidr::ToString() const {
  if (prefix_ >= kIpv4Prefix && IsIpv4(base_)) {
    return absl::StrFormat("%d.%d.%d.%d/%d", base_[12], base_[13], base_[14], base_[15], prefix_ - kIpv4Prefix);
  }
  return absl::StrCat(Ipv6Text(base_), "/", prefix_);
}

absl::StatusOr<std::vector<std::string>> NormalisedCidrs(const std::vector<std::string>& blocks) {
  std::vector<Cidr> parsed;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const absl::StatusOr<Cidr> block = Cidr::Parse(blocks[i]);
    if (!block.ok()) return absl::InvalidArgumentError(absl::StrCat("[", i, "] ", block.status().message()));
    parsed.push_back(*block);
  }
  std::sort(parsed.begin(), parsed.end());
  std::vector<std::string> normalised;
  const Cidr* last = nullptr;
  for (const Cidr& block : parsed) {
    // Blocks are nested or apart, so whatever lies in sorted order between a block and one it covers is covered too.
    if (last != nullptr && last->Covers(block)) continue;
    last = &block;
    normalised.push_back(block.ToString());
  }
  return normalised;
}

bool CidrsAtMost(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  if (b.empty()) return true;
  if (a.empty()) return false;
  std::vector<Cidr> held;
  for (const std::string& text : b) {
    const absl::StatusOr<Cidr> block = Cidr::Parse(text);
    if (block.ok()) held.push_back(*block);
  }
  return std::all_of(a.begin(), a.end(), [&held](const std::string& text) {
    const absl::StatusOr<Cidr> block = Cidr::Parse(text);
    return block.ok() &&
           std::any_of(held.begin(), held.end(), [&block](const Cidr& one) { return one.Covers(*block); });
  });
}

}  // namespace latchkey::core
