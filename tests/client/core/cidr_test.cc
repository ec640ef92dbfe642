#include "client/core/cidr.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace latchkey::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Canonical(const std::string& text) {
  const auto block = Cidr::Parse(text);
  return block.ok() ? block->ToString() : "refused";
}

// By hand, bit by bit.
bool InBlock(const IpAddress& base, int prefix, const IpAddress& address) {
  for (int bit = 0; bit < prefix; ++bit) {
    const int mask = 0x80 >> bit % 8;
    if ((base[bit / 8] & mask) != (address[bit / 8] & mask)) return false;
  }
  return true;
}

IpAddress RandomAddress(std::mt19937_64& random) {
  IpAddress address;
  for (uint8_t& byte : address) byte = random() % 2 == 0 ? 0 : static_cast<uint8_t>(random());
  return address;
}

std::string GroupsText(const IpAddress& address) {
  std::string text;
  for (int i = 0; i < 16; i += 2) {
    char group[8];
    snprintf(group, sizeof(group), "%s%02X%02X", i == 0 ? "" : ":", address[i], address[i + 1]);
    text += group;
  }
  return text;
}

TEST(Ip, Ipv4AndItsMappedFormAreOneAddress) {
  const auto dotted = ParseIp("10.1.2.3");
  ASSERT_TRUE(dotted.has_value());
  EXPECT_EQ(*dotted, (IpAddress{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3}));
  EXPECT_EQ(ParseIp("::ffff:10.1.2.3"), dotted);
  EXPECT_EQ(ParseIp("::FFFF:a01:203"), dotted);
  EXPECT_NE(ParseIp("::10.1.2.3"), dotted);
}

TEST(Ip, RefusesWhatIsNoAddress) {
  for (const char* text : {"",           " ",
                           "10",         "10.1",
                           "10.1.2",     "10.1.2.256",
                           "10.1.2.3.4", "10.1.2.03",
                           "10.1.2.3 ",  " 10.1.2.3",
                           "0x0a.1.2.3", "10.1.2.3:80",
                           "[::1]",      "::1%lo",
                           "fe80::1%1",  ":::",
                           "1::2::3",    "1:2:3:4:5:6:7",
                           "g::",        "12345::",
                           "::1/128",    "1:2:3:4:5:6:7:8:9",
                           "localhost",  "-1.0.0.0",
                           "1.2.3.-4"}) {
    EXPECT_FALSE(ParseIp(text)) << text;
  }
  EXPECT_FALSE(ParseIp(std::string_view("10.1.2.3\0", 9)));
  EXPECT_FALSE(ParseIp(std::string_view("10.1.2.3\0.evil", 14)));
  EXPECT_FALSE(ParseIp(std::string(1 << 20, '1')));
  // The longest there is.
  EXPECT_TRUE(ParseIp("1111:2222:3333:4444:5555:6666:123.123.123.123"));
  EXPECT_FALSE(ParseIp("1111:2222:3333:4444:5555:6666:123.123.123.1234"));
}

TEST(Cidr, HasOneCanonicalText) {
  EXPECT_EQ(Canonical("10.0.0.0/8"), "10.0.0.0/8");
  EXPECT_EQ(Canonical("10.1.2.3"), "10.1.2.3/32");
  EXPECT_EQ(Canonical("0.0.0.0/0"), "0.0.0.0/0");
  EXPECT_EQ(Canonical("255.255.255.255/32"), "255.255.255.255/32");
  EXPECT_EQ(Canonical("::/0"), "::/0");
  EXPECT_EQ(Canonical("::"), "::/128");
  EXPECT_EQ(Canonical("::1"), "::1/128");
  EXPECT_EQ(Canonical("2001:0DB8:0:0::/32"), "2001:db8::/32");
  EXPECT_EQ(Canonical("::ffff:10.0.0.0/104"), "10.0.0.0/8");
  EXPECT_EQ(Canonical("::ffff:0:0/96"), "0.0.0.0/0");
  EXPECT_EQ(Canonical("::fffe:0:0/95"), "::fffe:0:0/95");
}

// RFC 5952 §4 and §5.
TEST(Cidr, WritesIpv6AsRfc5952Says) {
  EXPECT_EQ(Canonical("2001:db8:0:0:1:0:0:1"), "2001:db8::1:0:0:1/128");  // The first of two equal runs.
  EXPECT_EQ(Canonical("2001:0:0:1:0:0:0:1"), "2001:0:0:1::1/128");        // The longest run.
  EXPECT_EQ(Canonical("2001:db8:0:1:1:1:1:1"), "2001:db8:0:1:1:1:1:1/128");
  EXPECT_EQ(Canonical("2001:db8:aaaa:bbbb:cccc:dddd:0:AAAA"), "2001:db8:aaaa:bbbb:cccc:dddd:0:aaaa/128");
  EXPECT_EQ(Canonical("1:0:0:0:0:0:0:0/16"), "1::/16");
  EXPECT_EQ(Canonical("0:0:1:2:3:4:5:6"), "::1:2:3:4:5:6/128");
  EXPECT_EQ(Canonical("::1:2"), "::1:2/128");  // No dotted quad: that form is for IPv4.
}

TEST(Cidr, RefusesWhatIsNoBlock) {
  for (const char* text : {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08",
                           "10.0.0.0/8 ", "10.0.0.0/ 8", "10.0.0.0/8/8", "10.0.0.0/255.0.0.0", "10/8", "2001:db8::/129",
                           "2001:db8::/1280", "::/0x0", "10.0.0.0/4294967304", "everywhere", "::ffff:10.0.0.0/129"}) {
    EXPECT_EQ(Canonical(text), "refused") << text;
  }
}

TEST(Cidr, RefusesBitsBelowThePrefixAndNamesTheBlock) {
  EXPECT_THAT(std::string(Cidr::Parse("10.0.0.1/8").status().message()), HasSubstr("\"10.0.0.0/8\""));
  EXPECT_THAT(std::string(Cidr::Parse("2001:db8::1/32").status().message()), HasSubstr("\"2001:db8::/32\""));
  EXPECT_EQ(Canonical("128.0.0.0/0"), "refused");
  EXPECT_EQ(Canonical("10.0.0.1/31"), "refused");
  // The mark of IPv4 lies below this prefix.
  EXPECT_EQ(Canonical("::ffff:10.0.0.0/80"), "refused");
}

TEST(Cidr, AnErrorDoesNotRepeatWhatWasGiven) {
  const auto block = Cidr::Parse("lk1_secret");
  EXPECT_EQ(block.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(block.status().message().find("secret"), std::string::npos);
}

TEST(Cidr, ContainsAndCoversAreWhatTheBitsSay) {
  std::mt19937_64 random(11);
  int contained = 0;
  int covered = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto random_block = [&random](IpAddress base, int prefix) {
      for (int bit = prefix; bit < 128; ++bit) base[bit / 8] &= static_cast<uint8_t>(~(0x80 >> bit % 8));
      return std::pair(base, Cidr::Parse(GroupsText(base) + "/" + std::to_string(prefix)).value());
    };
    const int prefix = static_cast<int>(random() % 129);
    const auto [base, block] = random_block(RandomAddress(random), prefix);
    // One that agrees up to a random bit, near the prefix as a rule.
    IpAddress address = base;
    const int flipped = std::clamp(prefix + static_cast<int>(random() % 5) - 2, 0, 127);
    address[flipped / 8] ^= static_cast<uint8_t>(0x80 >> flipped % 8);
    ASSERT_EQ(block.Contains(address), InBlock(base, prefix, address)) << block.ToString();
    ASSERT_TRUE(block.Contains(base));
    contained += block.Contains(address) ? 1 : 0;

    const int other_prefix = static_cast<int>(random() % 129);
    const auto [other_base, other] = random_block(random() % 2 == 0 ? address : base, other_prefix);
    ASSERT_EQ(block.Covers(other), prefix <= other_prefix && InBlock(base, prefix, other_base))
        << block.ToString() << " " << other.ToString();
    covered += block.Covers(other) ? 1 : 0;
  }
  EXPECT_GT(contained, 1000);
  EXPECT_GT(covered, 500);
}

TEST(Cidr, ItsTextIsReadBackAndIsInetNtopsButForDottedQuads) {
  std::mt19937_64 random(12);
  int compared = 0;
  for (int i = 0; i < 5000; ++i) {
    const IpAddress address = RandomAddress(random);
    const Cidr block = Cidr::Parse(GroupsText(address)).value();
    ASSERT_EQ(Cidr::Parse(block.ToString()).value(), block);
    char text[INET6_ADDRSTRLEN];
    ASSERT_NE(inet_ntop(AF_INET6, address.data(), text, sizeof(text)), nullptr);
    if (std::string(text).find('.') != std::string::npos) continue;
    ASSERT_EQ(block.ToString(), std::string(text) + "/128");
    ++compared;
  }
  EXPECT_GT(compared, 4000);
}

TEST(NormalisedCidrs, SortsAndDropsDuplicatesAndCoveredBlocks) {
  EXPECT_THAT(NormalisedCidrs({"2001:db8::/32", "10.1.0.0/16", "192.168.0.1", "10.0.0.0/8", "::ffff:10.0.0.0/104",
                               "2001:db8:1::/48", "10.2.3.4", "9.0.0.0/8"})
                  .value(),
              ElementsAre("9.0.0.0/8", "10.0.0.0/8", "192.168.0.1/32", "2001:db8::/32"));
  EXPECT_THAT(NormalisedCidrs({"10.0.0.0/8", "::/0", "2001:db8::/32"}).value(), ElementsAre("::/0"));
  EXPECT_THAT(NormalisedCidrs({}).value(), ElementsAre());
  // Halves stay halves: what an owner wrote is recognisable.
  EXPECT_THAT(NormalisedCidrs({"10.128.0.0/9", "10.0.0.0/9"}).value(), ElementsAre("10.0.0.0/9", "10.128.0.0/9"));
}

TEST(NormalisedCidrs, NamesTheFirstWrongOne) {
  const auto result = NormalisedCidrs({"10.0.0.0/8", "nonsense", "10.0.0.1/8"});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), StartsWith("[1] must be"));
}

// Blocks of a world of 16 addresses, so that sets can be compared one by one.
std::string SmallBlock(std::mt19937_64& random) {
  const unsigned bits = random() % 5;
  const unsigned at = (random() % 16) >> (4 - bits) << (4 - bits);
  return "10.0.0." + std::to_string(at) + "/" + std::to_string(28 + bits);
}

std::vector<std::string> SmallBlocks(std::mt19937_64& random, size_t at_least) {
  std::vector<std::string> blocks;
  for (size_t left = at_least + random() % 4; left > 0; --left) blocks.push_back(SmallBlock(random));
  return blocks;
}

unsigned Members(const std::vector<std::string>& blocks) {
  unsigned members = 0;
  for (unsigned at = 0; at < 16; ++at) {
    const IpAddress address = ParseIp("10.0.0." + std::to_string(at)).value();
    for (const std::string& block : blocks) {
      if (Cidr::Parse(block)->Contains(address)) members |= 1u << at;
    }
  }
  return members;
}

TEST(NormalisedCidrs, KeepsTheMembersWhateverTheOrderAndChangesNothingTwice) {
  std::mt19937_64 random(13);
  for (int i = 0; i < 2000; ++i) {
    std::vector<std::string> blocks = SmallBlocks(random, 0);
    const std::vector<std::string> normalised = NormalisedCidrs(blocks).value();
    ASSERT_EQ(Members(normalised), Members(blocks));
    ASSERT_EQ(NormalisedCidrs(normalised).value(), normalised);
    std::shuffle(blocks.begin(), blocks.end(), random);
    ASSERT_EQ(NormalisedCidrs(blocks).value(), normalised);
    for (const std::string& one : normalised) {
      for (const std::string& other : normalised) {
        ASSERT_TRUE(&one == &other || !Cidr::Parse(one)->Covers(*Cidr::Parse(other)));
      }
    }
  }
}

TEST(CidrsAtMost, EmptyIsAnywhereAndNothingElseIs) {
  EXPECT_TRUE(CidrsAtMost({}, {}));
  EXPECT_TRUE(CidrsAtMost({"10.0.0.0/8"}, {}));
  EXPECT_TRUE(CidrsAtMost({"::/0"}, {}));
  EXPECT_FALSE(CidrsAtMost({}, {"10.0.0.0/8"}));
  EXPECT_FALSE(CidrsAtMost({}, {"::/0"}));
}

TEST(CidrsAtMost, EveryBlockNeedsOneThatCoversIt) {
  EXPECT_TRUE(CidrsAtMost({"10.1.0.0/16", "10.2.0.0/16"}, {"10.0.0.0/8"}));
  EXPECT_TRUE(CidrsAtMost({"0.0.0.0/0"}, {"::/0"}));
  EXPECT_FALSE(CidrsAtMost({"::/0"}, {"0.0.0.0/0"}));
  EXPECT_FALSE(CidrsAtMost({"10.0.0.0/8"}, {"10.1.0.0/16"}));
  EXPECT_FALSE(CidrsAtMost({"10.1.0.0/16", "11.0.0.0/8"}, {"10.0.0.0/8"}));
  EXPECT_FALSE(CidrsAtMost({"10.0.0.0/8"}, {"10.0.0.0/9", "10.128.0.0/9"}));
}

TEST(CidrsAtMost, WhatCannotBeReadIsNotAtMostAnythingAndCoversNothing) {
  EXPECT_FALSE(CidrsAtMost({"nonsense"}, {"::/0"}));
  EXPECT_FALSE(CidrsAtMost({"10.0.0.0/8"}, {"nonsense"}));
}

TEST(CidrsAtMost, NeverSaysYesToAnAddressTheOtherRefuses) {
  std::mt19937_64 random(14);
  int yes = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto a = NormalisedCidrs(SmallBlocks(random, 1)).value();
    const auto b = NormalisedCidrs(SmallBlocks(random, 1)).value();
    ASSERT_TRUE(CidrsAtMost(a, a));
    if (!CidrsAtMost(a, b)) continue;
    ++yes;
    ASSERT_EQ(Members(a) & ~Members(b), 0u);
  }
  EXPECT_GT(yes, 500);
}

}  // namespace
}  // namespace latchkey::core
