#include "server/model/acknowledgements.h"

#include <gtest/gtest.h>

namespace latchkey::storage {
namespace {

TEST(Acknowledgements, AnOrganizationThatIsBehindHoldsUpNoOther) {
  const Acknowledgements some{.others = 10, .behind = {{"acme", 7}, {"beta", 8}}};
  EXPECT_EQ(some.Of("acme"), 7);
  EXPECT_EQ(some.Of("beta"), 8);
  EXPECT_EQ(some.Of("gamma"), 10);
  EXPECT_EQ(some.oldest(), 7);
  const Acknowledgements none{.others = 10};
  EXPECT_EQ(none.Of("acme"), 10);
  EXPECT_EQ(none.oldest(), 10);
  EXPECT_EQ((Acknowledgements{.others = 5, .behind = {{"acme", 7}}}).Of("acme"), 5) << "no further than all are";
}

}  // namespace
}  // namespace latchkey::storage
