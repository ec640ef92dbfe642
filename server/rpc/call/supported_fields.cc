#include "server/rpc/call/supported_fields.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/unknown_field_set.h"
#include "server/base/errors.h"

namespace latchkey::rpc {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool HasChildRule(const std::set<std::string>& paths, const std::string& parent) {
  const std::string prefix = absl::StrCat(parent, ".");
  const auto next = paths.lower_bound(prefix);
  return next != paths.end() && next->compare(0, prefix.size(), prefix) == 0;
}

// `rules` is nullptr inside a message that is taken whole: then only unknown fields are refused.
absl::Status Check(const Message& message, const FieldRules* rules, const std::string& rule_prefix,
                   const std::string& shown_prefix) {
  const Reflection& reflection = *message.GetReflection();
  const google::protobuf::UnknownFieldSet& unknown = reflection.GetUnknownFields(message);
  if (!unknown.empty()) {
    return errors::FieldNotSupported(absl::StrCat(shown_prefix, "unknown field ", unknown.field(0).number()));
  }
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const std::string path = absl::StrCat(rule_prefix, field->name());
    const std::string shown = absl::StrCat(shown_prefix, field->name());
    if (rules != nullptr) {
      if (rules->ignored.count(path) > 0) continue;
      if (rules->supported.count(path) == 0) return errors::FieldNotSupported(shown);
    }
    // Elements of a repeated message are checked by whoever reads them one by one.
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_repeated()) continue;
    const bool search =
        rules != nullptr && (HasChildRule(rules->supported, path) || HasChildRule(rules->ignored, path));
    const absl::Status inner = Check(reflection.GetMessage(message, field), search ? rules : nullptr,
                                     absl::StrCat(path, "."), absl::StrCat(shown, "."));
    if (!inner.ok()) return inner;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSupported(const Message& message, const FieldRules& rules, const std::string& prefix) {
  return Check(message, &rules, "", prefix);
}

}  // namespace latchkey::rpc
