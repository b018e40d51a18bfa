// The types of an op's fields say which tensors it writes.
#include "test/native/device.h"

namespace heed {
namespace {

using testing::shape;

template <class Op>
std::vector<int64_t> written_rows(const Op& op) {
  std::vector<int64_t> rows;
  op::for_each_written(op, [&](const Tensor& t) { rows.push_back(t.rows); });
  return rows;
}

TEST(Fields, WrittenAreOutAndInOutAsDeclared) {
  EXPECT_EQ(written_rows(op::Gelu{.out = shape(1), .x = shape(2)}), (std::vector<int64_t>{1}));
  EXPECT_EQ(written_rows(op::AdamW{
                .weight = shape(1), .m = shape(2), .v = shape(3), .param = shape(4, 1, DType::bf16), .grad = shape(5)}),
            (std::vector<int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(written_rows(op::AdamW{.weight = shape(1), .m = shape(2), .v = shape(3), .grad = shape(5)}),
            (std::vector<int64_t>{1, 2, 3}))
      << "a field that was not given is not written";
  EXPECT_EQ(written_rows(op::CacheWrite{.keys = shape(1), .values = shape(2), .qkv = shape(3)}),
            (std::vector<int64_t>{1, 2}));
}

// A field that is added to an op is found without a second list.
TEST(Fields, AreCounted) {
  EXPECT_EQ(op::fields::count<op::Gelu>(), 3u);
  EXPECT_EQ(op::fields::count<op::AdamW>(), 13u);
  EXPECT_EQ(op::fields::count<op::PpoPolicyLoss>(), 11u);
}

}  // namespace
}  // namespace heed
