#include "server/rpc/serving_state.h"

#include <gtest/gtest.h>

#include <memory>

namespace latchkey::rpc {
namespace {

class CountingListener final : public ServingListener {
 public:
  void OnServingChange() override { ++changes; }
  int changes = 0;
};

TEST(ServingState, EachServiceFollowsItsOwnPart) {
  using Status = ServingState::Status;
  ServingState state;
  EXPECT_EQ(state.StatusOf(""), Status::kNotServing);
  state.SetVerify(true);
  EXPECT_EQ(state.StatusOf(""), Status::kServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyVerify"), Status::kServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyAdmin"), Status::kNotServing);
  state.SetVerify(false);
  state.SetAdmin(true);
  EXPECT_EQ(state.StatusOf(""), Status::kNotServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyAdmin"), Status::kServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.keyadmin"), Status::kUnknownService);
}

TEST(ServingState, DrainingTakesEverythingDownForGood) {
  ServingState state;
  state.SetVerify(true);
  state.SetAdmin(true);
  state.StartDraining();
  state.SetVerify(false);
  state.SetVerify(true);
  EXPECT_EQ(state.StatusOf(""), ServingState::Status::kNotServing);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyAdmin"), ServingState::Status::kNotServing);
  EXPECT_EQ(state.StatusOf("other"), ServingState::Status::kUnknownService);
}

TEST(ServingState, ListenersHearOfChangesUntilTheyAreGone) {
  ServingState state;
  auto listener = std::make_shared<CountingListener>();
  state.Subscribe(listener);
  state.SetVerify(true);
  state.SetVerify(true);
  EXPECT_EQ(listener->changes, 1);
  state.SetAdmin(true);
  EXPECT_EQ(listener->changes, 2);
  listener.reset();
  state.SetAdmin(false);
  EXPECT_EQ(state.StatusOf("latchkey.v1.KeyAdmin"), ServingState::Status::kNotServing);
}

}  // namespace
}  // namespace latchkey::rpc
