// The same statistics as the fused kernel, without its care for NaN, sampling or odd
// layouts: what a compiler reaches. Compiled and run by kernels.py.

#include <algorithm>
#include <cmath>
#include <cstdint>

extern "C" void fused(const float* x, int64_t samples, int64_t units, int64_t inner,
                      const uint32_t* packed, float threshold, uint32_t* h, int64_t cells,
                      double* sums, int64_t* active) {
  uint32_t *h0 = h, *h1 = h + cells, *h2 = h + 2 * cells, *h3 = h + 3 * cells;
  const int64_t block = 1024;
  for (int64_t run = 0; run < samples * units; run++) {
    for (int64_t at = 0; at < inner; at += block) {
      const int64_t n = std::min(block, inner - at);
      const float* q = x + run * inner + at;
      float total = 0, squares = 0, low = q[0], high = q[0];
      int zeros = 0, hits = 0;
      for (int64_t j = 0; j < n; j++) {
        const float v = q[j];
        total += v;
        squares += v * v;
        low = v < low ? v : low;
        high = v > high ? v : high;
        zeros += v == 0;
        hits += std::fabs(v) > threshold;
      }
      sums[0] += total;
      sums[1] += squares;
      sums[2] = std::min<double>(sums[2], low);
      sums[3] = std::max<double>(sums[3], high);
      sums[4] += zeros;
      active[run % units] += hits;
      // See BinTable.packed: the upper half of the sum is the bin.
      const uint32_t* b = reinterpret_cast<const uint32_t*>(q);
      int64_t j = 0;
      for (; j + 4 <= n; j += 4) {
        const uint32_t b0 = b[j], b1 = b[j + 1], b2 = b[j + 2], b3 = b[j + 3];
        h0[(packed[b0 >> 16] + b0) >> 16]++;
        h1[(packed[b1 >> 16] + b1) >> 16]++;
        h2[(packed[b2 >> 16] + b2) >> 16]++;
        h3[(packed[b3 >> 16] + b3) >> 16]++;
      }
      for (; j < n; j++) h0[(packed[b[j] >> 16] + b[j]) >> 16]++;
    }
  }
}
