#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "client/core/key_format.h"

namespace latchkey::core {

// What somebody presented as a key: a text, and its parts if it is a key string of ours. Made once of a text and passed
// on, so that every reader sees the same parts. A view: it lives as long as the text. Not thread-safe.
class PresentedKey {
 public:
  PresentedKey() = default;
  // Implicit: a text is what is presented.
  PresentedKey(std::string_view text) : text_(text) {}                      // NOLINT(google-explicit-constructor)
  PresentedKey(const std::string& text) : text_(text) {}                    // NOLINT(google-explicit-constructor)
  PresentedKey(const char* text) : PresentedKey(std::string_view(text)) {}  // NOLINT(google-explicit-constructor)

  std::string_view text() const { return text_; }
  // The 82 characters that a digest covers, by their place alone: whether they are right is for the digest to say. ""
  // if no key string of ours looks like this.
  std::string_view canonical() const {
    if (text_.size() == kCanonicalLength) return text_;
    if (text_.size() < kCanonicalLength + 2 || text_.size() > kMaxKeyStringLength) return {};
    const size_t label_size = text_.size() - kCanonicalLength - 1;
    if (text_[label_size] != '_' || !IsLabel(text_.substr(0, label_size))) return {};
    return text_.substr(label_size + 1);
  }
  // The parts of a key string of ours; nullptr if it is none (ParseKeyString). Parsed at the first call.
  const KeyParts* native() const {
    if (!parsed_) {
      native_ = ParseKeyString(text_);
      parsed_ = true;
    }
    return native_.has_value() ? &*native_ : nullptr;
  }

 private:
  std::string_view text_;
  mutable bool parsed_ = false;
  mutable std::optional<KeyParts> native_;
};

}  // namespace latchkey::core
