#include "server/keys/replication/named_slots.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>

namespace latchkey::keys {
namespace {

// Looks at its slot when it is destroyed.
struct Record {
  struct Seen {
    int destroyed = 0;
    int while_shown = 0;
  };
  Record(const NamedSlots<Record>& in, uint32_t at, Seen& told) : slots(in), number(at), seen(told) {}
  ~Record() {
    ++seen.destroyed;
    if (slots.Of(number) == this) ++seen.while_shown;
  }
  const NamedSlots<Record>& slots;
  const uint32_t number;
  Seen& seen;
};

TEST(NamedSlots, ARecordIsDestroyedOnlyOnceItIsNotShownAnyMore) {
  // Each 64th retirement destroys what nobody reads, itself included.
  constexpr int kRecords = 200;
  Record::Seen seen;
  NamedSlots<Record> slots;
  const uint32_t number = slots.NumberOf("acme", "editor");
  for (int i = 0; i < kRecords; ++i) slots.Put(number, std::make_unique<const Record>(slots, number, seen));
  slots.Put(number, nullptr);
  core::Epochs::Collect();
  EXPECT_EQ(seen.destroyed, kRecords);
  EXPECT_EQ(seen.while_shown, 0);
}

TEST(NamedSlots, ANumberStaysThoughItsRecordComesAndGoes) {
  NamedSlots<int> slots;
  const uint32_t editor = slots.NumberOf("acme", "editor");
  const uint32_t viewer = slots.NumberOf("acme", "viewer");
  EXPECT_NE(editor, viewer);
  EXPECT_NE(slots.NumberOf("other", "editor"), editor);
  EXPECT_EQ(slots.Of(editor), nullptr);
  slots.Put(editor, std::make_unique<const int>(1));
  EXPECT_EQ(slots.NumberOf("acme", "editor"), editor);
  EXPECT_EQ(*slots.Of(editor), 1);
  EXPECT_EQ(slots.Find("acme", "editor"), slots.Of(editor));
  EXPECT_EQ(slots.Find("acme", "viewer"), nullptr);
  EXPECT_EQ(slots.Find("nobody", "editor"), nullptr);
  slots.Put(editor, nullptr);
  EXPECT_EQ(slots.Of(editor), nullptr);
  EXPECT_EQ(slots.IdOf(editor), "editor");
  EXPECT_EQ(slots.NumberOf("acme", "editor"), editor);
}

}  // namespace
}  // namespace latchkey::keys
