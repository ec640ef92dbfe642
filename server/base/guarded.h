#pragma once

#include <exception>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace latchkey::base {

// Exception barrier: `fn`'s result, where an exception becomes INTERNAL with its text for the log.
template <typename Fn>
auto Guarded(const Fn& fn) -> decltype(fn()) {
  try {
    return fn();
  } catch (const std::exception& e) {
    return errors::Internal(absl::StrCat("exception: ", e.what()));
  } catch (...) {
    return errors::Internal("exception of an unknown type");
  }
}

}  // namespace latchkey::base
