#pragma once

#include <array>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "client/core/secret.h"

namespace latchkey::keys {

// HMAC-SHA-256 (RFC 2104) under one key, its pads computed once. Immutable; thread-safe.
class Mac {
 public:
  explicit Mac(const core::Secret& key);
  Mac(Mac&&) noexcept;
  Mac& operator=(Mac&&) noexcept;
  ~Mac();

  static constexpr size_t kSize = 32;
  // Of the parts as one text.
  std::array<char, kSize> Of(std::initializer_list<std::string_view> parts) const;

 private:
  struct Pads;
  struct Cleanse {
    void operator()(Pads* pads) const;
  };
  std::unique_ptr<Pads, Cleanse> pads_;
};

}  // namespace latchkey::keys
