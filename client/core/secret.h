#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace latchkey::core {

// Bytes that must not leak: a key string, a pepper, a MAC key. No print, no copy, no comparison, no implicit
// conversion; the only way to the bytes is Expose(), so that `grep Expose` lists every use. Cleansed with
// OPENSSL_cleanse on destruction, also when it is moved from. Not thread-safe for writing; reading is.
class Secret {
 public:
  Secret() = default;
  // Takes the bytes over and cleanses the argument's.
  explicit Secret(std::string&& bytes);
  // `size` bytes from the operating system's CSPRNG by way of RAND_priv_bytes. Aborts if it fails.
  static Secret Random(size_t size);
  // An explicit duplicate, for the rare owner that must keep one.
  Secret Clone() const;

  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  // The bytes. Never log them, never put them in an error.
  std::string_view Expose() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

 private:
  void Cleanse();
  std::string bytes_;
};

// Compares in time that depends on the lengths only.
bool ConstantTimeEqual(std::string_view a, std::string_view b);

// Overwrites the bytes of a string that held a secret and empties it.
void CleanseString(std::string& text);

}  // namespace latchkey::core
