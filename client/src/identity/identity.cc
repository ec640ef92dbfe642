#include <malloc.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "client/core/resource_names.h"
#include "client/src/identity/hazard_slots.h"
#include "client/src/identity/identity_block.h"
#include "latchkey/verifier.h"

namespace latchkey {
namespace client {
namespace {

constexpr size_t kMaxText = std::numeric_limits<uint16_t>::max();
constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

std::string_view Cut(std::string_view text) { return text.substr(0, kMaxText); }

void AppendSized(std::string_view text, std::string& to) {
  to.push_back(static_cast<char>(text.size() & 0xff));
  to.push_back(static_cast<char>(text.size() >> 8));
  to.append(text);
}

std::string_view TakeSized(std::string_view& from) {
  const size_t size = static_cast<unsigned char>(from[0]) | size_t{static_cast<unsigned char>(from[1])} << 8;
  const std::string_view taken = from.substr(2, size);
  from.remove_prefix(2 + size);
  return taken;
}

std::string Encoded(const std::map<std::string, std::string>& labels) {
  std::string encoded;
  for (const auto& [name, value] : labels) {
    if (encoded.size() + name.size() + value.size() + 4 > kMaxText) break;
    AppendSized(name, encoded);
    AppendSized(value, encoded);
  }
  return encoded;
}

std::string EncodedRest(const Identity::Fields& fields) {
  std::string encoded;
  const bool is_long = fields.key_id.size() > Kid().size();
  AppendSized(is_long ? Cut(fields.key_id) : std::string_view(), encoded);
  const size_t empty = encoded.size();
  for (const std::string& text : fields.allowed_cidrs) {
    if (!core::Cidr::Parse(text).ok()) AppendSized(Cut(text), encoded);
  }
  return is_long || encoded.size() > empty ? encoded : std::string();
}

}  // namespace

IdentityBlock* IdentityBlock::Allocate(size_t text_size) {
  return new (::operator new(sizeof(IdentityBlock) + text_size)) IdentityBlock;
}

void IdentityBlock::Delete(const IdentityBlock* block) {
  block->role->Unref();
  delete block->cidrs;
  block->~IdentityBlock();
  ::operator delete(const_cast<IdentityBlock*>(block));
}

size_t IdentityBlock::memory_bytes() const {
  constexpr size_t kChunkHeader = sizeof(size_t);
  size_t bytes = malloc_usable_size(const_cast<IdentityBlock*>(this)) + kChunkHeader;
  if (cidrs != nullptr)
    bytes += sizeof(std::vector<core::Cidr>) + cidrs->capacity() * sizeof(core::Cidr) + 2 * kChunkHeader;
  return bytes;
}

IdentityBlock* IdentityBlock::Make(const Identity::Fields& fields, RolePart* role) {
  const std::string_view display_name = Cut(fields.display_name);
  const std::string_view owner = Cut(fields.owner);
  const std::string labels = Encoded(fields.labels);
  const std::string rest = EncodedRest(fields);
  const auto rest_size = static_cast<uint32_t>(rest.size());
  IdentityBlock* block =
      Allocate(display_name.size() + owner.size() + labels.size() + (rest.empty() ? 0 : sizeof(rest_size) + rest_size));
  std::copy_n(fields.key_id.data(), std::min(fields.key_id.size(), block->kid.size()), block->kid.data());
  block->role = role;
  block->display_name_size = static_cast<uint16_t>(display_name.size());
  block->owner_size = static_cast<uint16_t>(owner.size());
  block->labels_size = static_cast<uint16_t>(labels.size());
  char* at = std::copy(display_name.begin(), display_name.end(), block->text());
  at = std::copy(owner.begin(), owner.end(), at);
  at = std::copy(labels.begin(), labels.end(), at);
  if (!rest.empty()) {
    block->has_rest = true;
    std::memcpy(at, &rest_size, sizeof(rest_size));
    std::copy(rest.begin(), rest.end(), at + sizeof(rest_size));
  }
  block->expires_at_us = fields.expires_at == absl::InfiniteFuture() ? kNever : absl::ToUnixMicros(fields.expires_at);
  block->secret_version = fields.secret_version;
  if (!fields.allowed_cidrs.empty()) {
    auto cidrs = std::make_unique<std::vector<core::Cidr>>();
    cidrs->reserve(fields.allowed_cidrs.size());
    // One that cannot be read allows nobody.
    for (const std::string& text : fields.allowed_cidrs) {
      if (const absl::StatusOr<core::Cidr> cidr = core::Cidr::Parse(text); cidr.ok()) cidrs->push_back(*cidr);
    }
    block->cidrs = cidrs.release();
    block->has_cidrs = true;
  }
  return block;
}

IdentityBlock* IdentityBlock::Copy(const IdentityBlock& from, RolePart* role) {
  IdentityBlock* block = Allocate(from.text_size());
  block->kid = from.kid;
  block->role = role;
  block->display_name_size = from.display_name_size;
  block->owner_size = from.owner_size;
  block->labels_size = from.labels_size;
  block->has_rest = from.has_rest;
  std::copy_n(from.text(), from.text_size(), block->text());
  block->expires_at_us = from.expires_at_us;
  block->secret_version = from.secret_version;
  if (from.cidrs != nullptr) block->cidrs = new std::vector<core::Cidr>(*from.cidrs);
  block->has_cidrs = from.has_cidrs;
  return block;
}

}  // namespace client

namespace {

const std::string& NoText() {
  static const std::string& text = *new std::string;
  return text;
}

}  // namespace

Identity::Identity(const Fields& fields) {
  auto* role = new client::RolePart;
  role->organization = fields.organization;
  role->role = fields.role;
  role->permissions = fields.permissions;
  block_ = client::IdentityBlock::Make(fields, role);
}

Identity::Identity(const Identity& other) : block_(other.block_) {
  if (block_ != nullptr) block_->Ref();
}

void Identity::Release() noexcept {
  if (slot_ != nullptr) {
    client::ClearSlot(slot_);
  } else {
    block_->Unref();
  }
}

std::string Identity::name() const { return empty() ? "" : core::KeyNameOf(organization(), key_id()); }

std::string_view Identity::key_id() const {
  if (empty()) return {};
  if (std::string_view rest = block_->rest(); !rest.empty()) {
    if (const std::string_view id = client::TakeSized(rest); !id.empty()) return id;
  }
  const std::string_view whole(block_->kid.data(), block_->kid.size());
  return whole.substr(0, whole.find('\0'));
}

const std::string& Identity::organization() const { return empty() ? NoText() : block_->role->organization; }

std::string_view Identity::display_name() const { return empty() ? std::string_view() : block_->display_name(); }

const std::string& Identity::role() const { return empty() ? NoText() : block_->role->role; }

const std::vector<std::string>& Identity::permissions() const {
  static const std::vector<std::string>& none = *new std::vector<std::string>;
  return empty() ? none : block_->role->permissions;
}

std::string_view Identity::owner() const { return empty() ? std::string_view() : block_->owner(); }

std::map<std::string, std::string> Identity::labels() const {
  std::map<std::string, std::string> labels;
  if (empty()) return labels;
  for (std::string_view rest = block_->labels(); !rest.empty();) {
    const std::string_view name = client::TakeSized(rest);
    labels.emplace(name, client::TakeSized(rest));
  }
  return labels;
}

absl::Time Identity::expires_at() const {
  if (empty() || block_->expires_at_us == client::kNever) return absl::InfiniteFuture();
  return absl::FromUnixMicros(block_->expires_at_us);
}

int Identity::secret_version() const { return empty() ? 0 : block_->secret_version; }

std::vector<std::string> Identity::allowed_cidrs() const {
  std::vector<std::string> texts;
  if (empty() || block_->cidrs == nullptr) return texts;
  for (const core::Cidr& cidr : *block_->cidrs) texts.push_back(cidr.ToString());
  if (std::string_view rest = block_->rest(); !rest.empty()) {
    for (client::TakeSized(rest); !rest.empty();) texts.emplace_back(client::TakeSized(rest));
  }
  return texts;
}

}  // namespace latchkey
