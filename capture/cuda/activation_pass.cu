// Everything about one activation in one launch: see `fused.py`, which compiles and
// calls this, and `layout.py`, which says what the words are. Compiled with
//   ELEMENT  0 float32, 1 bfloat16, 2 float16
//   WIDTH    elements read at once, 1 or 4
//   PART     1 where `sampling` may say that a part is read, 0 where all always is
// It includes nothing, so that the run-time compiler needs no headers, and asks for
// compute capability 8.0. The tests run it on the CPU, through a stand-in for CUDA.
//
// The tensor is a matrix of `rows` rows of `cols` elements; a unit is a row (modulo
// `units`) or a column. `tx` lanes, a power of two up to 32, read a row side by side.

typedef unsigned long long word;

// As in slots.py and layout.py.
enum { UNDERFLOW_, OVERFLOW_, NAN_, POSINF_, NEGINF_, ZERO_, ELEMENTS_, CALLS_, SAMPLED_, N_TALLIES_ };
enum { SHIFT_, TOTAL_, SQUARES_, LOWEST_, HIGHEST_, NORMS_, SAMPLE_COUNT_ };

#define FULL 0xffffffffu
#define MAX_WARPS 8
#define CUT 128  // elements of a block that is read or left out, as in sampling.py
#define SMALLEST_NORMAL_SUM 1e-28f  // squares that add up to less may have lost some to underflow

struct Matrix {
  long long rows, cols;     // cols is a multiple of WIDE
  long long sample_rows;    // rows of a sample
  long long samples;
  int units;
  int unit_is_row;
  int direct;               // a row is a sample, and one block reads all of it
};

struct Sums {
  double total, squares, norms;
  float low, high;
  unsigned zeros, nan, posinf, neginf;
  unsigned binned, binned_zeros, samples;  // where a part is read: what was of it
};

// What `sampling` holds (kernels/sampling.py), and its modes.
enum { MODE_, STRIDE_, PHASE_, WHOLE_ };
enum { READ_ALL_, HISTOGRAM_OF_A_PART_, READ_A_PART_ };

// Which elements are read, as `chosen_blocks` has it.
struct Choice {
  int mode;
  word stride, phase;
  word by_length, by_stride;  // see `over`
};

// What `over` divides by `d` with: 2^64 / d, rounded up.
__device__ inline word reciprocal(word d) { return ~0ull / d + 1; }

// x / d from its reciprocal, for d from 2 and x * d below 2^64 (Granlund, Montgomery:
// Division by invariant integers using multiplication, 1994).
__device__ inline word over(word x, word reciprocal) { return __umul64hi(x, reciprocal); }

// `sample_elements`: of one sample. Written so that no stride can be one that `over` does not take.
__device__ inline Choice choice_of(const long long* sampling, long long n, long long sample_elements) {
  Choice c = {READ_ALL_, 2, 0, 0, 0};
  const long long stride = sampling[STRIDE_];
  if (stride < 2 || n < sampling[WHOLE_]) return c;
  c.mode = (int)sampling[MODE_];
  c.stride = (word)stride;
  c.phase = (word)sampling[PHASE_];
  c.by_stride = reciprocal(c.stride);
  // Short samples are read or left out whole; a block has at least 65 elements.
  const bool whole_samples = c.mode == READ_A_PART_ && sample_elements <= CUT;
  c.by_length = reciprocal(whole_samples ? CUT / sample_elements * sample_elements : CUT);
  return c;
}

// Whether the block that element `at` lies in is one of those that are read.
__device__ inline bool is_chosen(const Choice& c, long long at) {
  const word block = over((word)at, c.by_length), group = over(block, c.by_stride);
  const word turn = ((group * 0x9E3779B97F4A7C15ull) >> 33) + c.phase;
  return block - group * c.stride == turn - over(turn, c.by_stride) * c.stride;
}

__device__ inline float as_float(unsigned bits) { return __uint_as_float(bits); }
__device__ inline bool is_finite(float x) { return (__float_as_uint(x) & 0x7fffffffu) < 0x7f800000u; }

template <int KIND>
__device__ inline float widen(unsigned short half) {
  if (KIND == 1) return as_float((unsigned)half << 16);
  return actrace_half(half);
}

// What one instruction reads.
template <typename T, int WIDE>
struct alignas(sizeof(T) * WIDE) Pack { T of[WIDE]; };

// Reads WIDE elements from `at` on, as float32.
template <int KIND, int WIDE>
__device__ inline void read(const void* x, long long at, float* out) {
  if (KIND == 0) {
    const Pack<float, WIDE> v = *(const Pack<float, WIDE>*)((const float*)x + at);
#pragma unroll
    for (int k = 0; k < WIDE; k++) out[k] = v.of[k];
  } else {
    const Pack<unsigned short, WIDE> v =
        *(const Pack<unsigned short, WIDE>*)((const unsigned short*)x + at);
#pragma unroll
    for (int k = 0; k < WIDE; k++) out[k] = widen<KIND>(v.of[k]);
  }
}

// In float64, setting aside what is not finite.
template <int WIDE>
__device__ void carefully(const float* x, float shift, Sums& sums, double& raw) {
  for (int k = 0; k < WIDE; k++) {
    unsigned bits = __float_as_uint(x[k]), size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) sums.nan++;
    else if (size == 0x7f800000u) { if (bits >> 31) sums.neginf++; else sums.posinf++; }
    else {
      double d = (double)x[k] - (double)shift;
      sums.total += d;
      sums.squares += d * d;
      raw += (double)x[k] * (double)x[k];
      sums.low = fminf(sums.low, x[k]);
      sums.high = fmaxf(sums.high, x[k]);
    }
  }
}

// Adds WIDE elements to the sums and, if `binned`, to a histogram; sets bit k of the result if
// x[k] is active.
template <int WIDE, int PART_>
__device__ inline unsigned count(const float* x, bool binned, float shift, unsigned threshold,
                                 const unsigned* __restrict__ packed, unsigned* histogram,
                                 Sums& sums, double& raw) {
  float total = 0, squares = 0, square = 0, low = x[0], high = x[0];
  unsigned active = 0, zeros = 0, moved = 0;
#pragma unroll
  for (int k = 0; k < WIDE; k++) {
    unsigned bits = __float_as_uint(x[k]), size = bits & 0x7fffffffu;
    float d = x[k] - shift;
    total += d;
    squares += d * d;
    square += x[k] * x[k];
    moved |= d != 0.0f;
    low = fminf(low, x[k]);
    high = fmaxf(high, x[k]);
    active |= (unsigned)(size > threshold && size <= 0x7f800000u) << k;
    // After a ReLU half of the elements are zeros: they never touch the histogram.
    if (size == 0) zeros++;
    else if (!PART_ || binned) atomicAdd(&histogram[(packed[bits >> 16] + bits) >> 16], 1u);
  }
  sums.zeros += zeros;
  if (PART_ && binned) {
    sums.binned += WIDE;
    sums.binned_zeros += zeros;
  }
  bool fine = is_finite(squares) && is_finite(square)
      && (square >= SMALLEST_NORMAL_SUM || zeros == WIDE)
      && (squares >= SMALLEST_NORMAL_SUM || !moved);
  if (fine) {
    sums.total += total;
    sums.squares += squares;
    raw += square;
    sums.low = fminf(sums.low, low);
    sums.high = fmaxf(sums.high, high);
  } else {
    carefully<WIDE>(x, shift, sums, raw);
  }
  return active;
}

__device__ inline double lanes_sum(double value, int lanes) {
  for (int apart = lanes >> 1; apart; apart >>= 1) value += __shfl_xor_sync(FULL, value, apart);
  return value;
}
__device__ inline unsigned lanes_sum(unsigned value, int lanes) {
  for (int apart = lanes >> 1; apart; apart >>= 1) value += __shfl_xor_sync(FULL, value, apart);
  return value;
}
__device__ inline float lanes_min(float value) {
  for (int apart = 16; apart; apart >>= 1) value = fminf(value, __shfl_xor_sync(FULL, value, apart));
  return value;
}

__device__ inline long long key_of(double value) {
  long long bits = __double_as_longlong(value);
  return bits ^ ((bits >> 63) & 0x7fffffffffffffffLL);
}
__device__ inline void add(word* at, double value) {
  if (value != 0.0) atomicAdd((double*)at, value);
}
__device__ inline void add(word* at, word value) {
  if (value) atomicAdd(at, value);
}

// The norm of a sample of which `seen` elements were read, as if the others were like them.
__device__ inline double norm_of(const Matrix& m, double squares, double seen) {
  return sqrt(squares * ((double)(m.sample_rows * m.cols) / seen));
}

// The row's samples of a warp's `tx` lanes each: puts the squares so far where they belong,
// and how many elements they are of where a part is read.
template <int PART_>
__device__ inline void put_squares(const Matrix& m, long long sample, bool here, int tx, int lane,
                                   double& raw, unsigned& seen, Sums& sums, double* by_sample) {
  double whole = lanes_sum(raw, tx);
  unsigned of = PART_ ? lanes_sum(seen, tx) : 0;
  if (here && (lane & (tx - 1)) == 0) {
    if (PART_) {
      if (of && m.direct) {
        sums.norms += norm_of(m, whole, of);
        sums.samples++;
      } else if (of) {
        if (whole != 0.0) atomicAdd(&by_sample[sample], whole);
        atomicAdd(&by_sample[m.samples + sample], (double)of);
      }
    } else if (m.direct) {
      sums.norms += sqrt(whole);
    } else if (whole != 0.0) {
      atomicAdd(&by_sample[sample], whole);
    }
  }
  raw = 0;
  seen = 0;
}

// `by_sample`: a sum of squares for each sample and, where a part is read, after them how many
// elements each is of.
template <int KIND, int WIDE, int PART_>
__device__ void activation_pass(const void* x, const unsigned* __restrict__ packed, word* layer,
                                word* active, const long long* sampling, double* by_sample,
                                unsigned* ticket, Matrix m,
                                int n_bins, unsigned threshold, int tx, int copies,
                                long long block_rows, unsigned* histograms) {
  const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
  const int warps = blockDim.x >> 5, ty = blockDim.x / tx;
  const int width = 2 * n_bins + 6;
  word* tally = layer + n_bins;
  word* extra = tally + N_TALLIES_;
  __shared__ float shift_;
  __shared__ double doubles[MAX_WARPS][3];
  __shared__ float floats[MAX_WARPS][2];
  __shared__ unsigned ints[MAX_WARPS][7];
  __shared__ unsigned columns[32 * WIDE];
  __shared__ int last;
  __shared__ Choice choice_;

  for (int i = thread; i < copies * width; i += blockDim.x) histograms[i] = 0;
  for (int i = thread; i < 32 * WIDE; i += blockDim.x) columns[i] = 0;
  if (warp == 0) {
    // The mean of 64 elements spread over the tensor, the same in every block, so that
    // no difference from it is far larger than the spread. A call before this one has
    // settled it already.
    const long long n = m.rows * m.cols, step = n / 64 ? n / 64 : 1;
    double sum = 0;
    unsigned known = 0;
    for (int j = lane; j < 64; j += 32) {
      if (j * step < n) {
        float one[1];
        read<KIND, 1>(x, j * step, one);
        if (is_finite(one[0])) { sum += one[0]; known++; }
      }
    }
    sum = lanes_sum(sum, 32);
    known = lanes_sum(known, 32);
    float guess = known ? (float)(sum / known) : 0.0f;
    if (lane == 0) {
      word before = atomicCAS(&extra[SHIFT_], 0ull, (1ull << 32) | __float_as_uint(guess));
      shift_ = before ? as_float((unsigned)before) : guess;
      if (PART_) choice_ = choice_of(sampling, n, m.sample_rows * m.cols);
    }
  }
  __syncthreads();
  const float shift = shift_;
  const Choice& choice = choice_;
  unsigned* histogram = histograms + (warp % copies) * width;

  Sums sums = {0, 0, 0, as_float(0x7f800000u), as_float(0xff800000u), 0, 0, 0, 0, 0, 0, 0};
  const int row_lane = thread / tx, col_lane = thread & (tx - 1);
  const long long first = blockIdx.y * block_rows;
  const long long end = first + block_rows < m.rows ? first + block_rows : m.rows;
  long long sample = 0, within = 0;  // of this thread's row
  double raw = 0;
  unsigned seen = 0;  // elements that `raw` is of
  if (m.unit_is_row) {
    long long before = -1;  // sample of the row before
    for (long long start = first; start < end; start += ty) {
      const long long row = start + row_lane;
      const bool mine = row < end;
      sample = row / m.sample_rows;
      within = row - sample * m.sample_rows;
      const bool other = before >= 0 && sample != before;
      if (__any_sync(FULL, other)) {
        // Lanes whose sample goes on give what they have too; more will follow.
        put_squares<PART_>(m, before, before >= 0, tx, lane, raw, seen, sums, by_sample);
      }
      unsigned hits = 0;
      if (mine) {
        const long long at = row * m.cols;
        for (long long c = col_lane * WIDE; c < m.cols; c += tx * WIDE * 2) {
          float one[WIDE], two[WIDE];
          const long long d = c + tx * WIDE;
          bool bin1 = true, bin2 = true, take1 = true, take2 = d < m.cols;
          if (PART_ && choice.mode != READ_ALL_) {
            bin1 = is_chosen(choice, at + c);
            bin2 = is_chosen(choice, at + d);
            if (choice.mode == READ_A_PART_) { take1 = bin1; take2 = take2 && bin2; }
          }
          if (take1) read<KIND, WIDE>(x, at + c, one);
          if (take2) read<KIND, WIDE>(x, at + d, two);
          if (take1)
            hits += __popc(count<WIDE, PART_>(one, bin1, shift, threshold, packed, histogram, sums, raw));
          if (take2)
            hits += __popc(count<WIDE, PART_>(two, bin2, shift, threshold, packed, histogram, sums, raw));
          if (PART_) seen += WIDE * ((unsigned)take1 + (unsigned)take2);
        }
        before = sample;
      }
      hits = lanes_sum(hits, tx);
      if (mine && active && col_lane == 0) add(&active[within % m.units], (word)hits);
    }
    put_squares<PART_>(m, before, before >= 0, tx, lane, raw, seen, sums, by_sample);
  } else {
    const long long c = ((long long)blockIdx.x * tx + col_lane) * WIDE;
    const bool inside = c < m.cols;
    unsigned hits[WIDE];
    for (int k = 0; k < WIDE; k++) hits[k] = 0;
    long long before = -1;
    for (long long start = first; start < end; start += 2 * ty) {
      float both[2][WIDE];
      bool bin[2], take[2];
      const long long row0 = start + row_lane;
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const long long at = (row0 + j * ty) * m.cols + c;
        bin[j] = true;
        take[j] = row0 + j * ty < end && inside;
        if (PART_ && choice.mode != READ_ALL_) {
          bin[j] = is_chosen(choice, at);
          if (choice.mode == READ_A_PART_) take[j] = take[j] && bin[j];
        }
        if (take[j]) read<KIND, WIDE>(x, at, both[j]);
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const long long row = row0 + j * ty;
        const bool mine = row < end;
        if (row == first + row_lane || m.sample_rows == 1) {
          sample = m.sample_rows == 1 ? row : row / m.sample_rows;
          within = row - sample * m.sample_rows;
        } else {
          within += ty;
          if (within >= m.sample_rows) {
            const long long over = within / m.sample_rows;
            sample += over;
            within -= over * m.sample_rows;
          }
        }
        const bool other = before >= 0 && mine && sample != before;
        if (__any_sync(FULL, other))
          put_squares<PART_>(m, before, before >= 0, tx, lane, raw, seen, sums, by_sample);
        if (mine) {
          before = sample;
          if (take[j]) {
            unsigned bits = count<WIDE, PART_>(both[j], bin[j], shift, threshold, packed, histogram,
                                               sums, raw);
            if (PART_) seen += WIDE;
#pragma unroll
            for (int k = 0; k < WIDE; k++) hits[k] += bits >> k & 1u;
          }
        }
      }
    }
    put_squares<PART_>(m, before, before >= 0, tx, lane, raw, seen, sums, by_sample);
    if (active && inside)
      for (int k = 0; k < WIDE; k++) if (hits[k]) atomicAdd(&columns[col_lane * WIDE + k], hits[k]);
  }

  sums.total = lanes_sum(sums.total, 32);
  sums.squares = lanes_sum(sums.squares, 32);
  sums.norms = lanes_sum(sums.norms, 32);
  sums.low = lanes_min(sums.low);
  sums.high = -lanes_min(-sums.high);
  sums.zeros = lanes_sum(sums.zeros, 32);
  sums.nan = lanes_sum(sums.nan, 32);
  sums.posinf = lanes_sum(sums.posinf, 32);
  sums.neginf = lanes_sum(sums.neginf, 32);
  if (PART_) {
    sums.binned = lanes_sum(sums.binned, 32);
    sums.binned_zeros = lanes_sum(sums.binned_zeros, 32);
    sums.samples = lanes_sum(sums.samples, 32);
  }
  if (lane == 0) {
    doubles[warp][0] = sums.total; doubles[warp][1] = sums.squares; doubles[warp][2] = sums.norms;
    floats[warp][0] = sums.low; floats[warp][1] = sums.high;
    ints[warp][0] = sums.zeros; ints[warp][1] = sums.nan;
    ints[warp][2] = sums.posinf; ints[warp][3] = sums.neginf;
    ints[warp][4] = sums.binned; ints[warp][5] = sums.binned_zeros; ints[warp][6] = sums.samples;
  }
  __syncthreads();
  if (thread == 0) {
    for (int w = 1; w < warps; w++) {
      for (int i = 0; i < 3; i++) doubles[0][i] += doubles[w][i];
      for (int i = 0; i < (PART_ ? 7 : 4); i++) ints[0][i] += ints[w][i];
      floats[0][0] = fminf(floats[0][0], floats[w][0]);
      floats[0][1] = fmaxf(floats[0][1], floats[w][1]);
    }
    add(&extra[TOTAL_], doubles[0][0]);
    add(&extra[SQUARES_], doubles[0][1]);
    add(&extra[NORMS_], doubles[0][2]);
    if (floats[0][0] <= floats[0][1]) {
      atomicMin((long long*)&extra[LOWEST_], key_of(floats[0][0]));
      atomicMax((long long*)&extra[HIGHEST_], key_of(floats[0][1]));
    }
    add(&tally[ZERO_], (word)ints[0][0]);
    add(&tally[NAN_], (word)ints[0][1]);
    add(&tally[POSINF_], (word)ints[0][2]);
    add(&tally[NEGINF_], (word)ints[0][3]);
    if (PART_) {
      add(&tally[SAMPLED_], (word)ints[0][4]);
      add(&extra[SAMPLE_COUNT_], (word)ints[0][6]);
    }
    // All zeros lie in the bin of plus zero.
    atomicAdd(&histograms[packed[0] >> 16], ints[0][PART_ ? 5 : 0]);
  }
  __syncthreads();
  for (int i = thread; i < width; i += blockDim.x) {
    word n = 0;
    for (int j = 0; j < copies; j++) n += histograms[j * width + i];
    // Negative values run backwards in the second half (see tables.py).
    const int bin = i <= n_bins + 2 ? i : 2 * n_bins + 4 - i;
    if (bin == 0) add(&tally[UNDERFLOW_], n);
    else if (bin == n_bins + 1) add(&tally[OVERFLOW_], n);
    else if (bin > 0 && bin <= n_bins) add(&layer[bin - 1], n);
  }
  if (!m.unit_is_row && active)
    for (int i = thread; i < tx * WIDE; i += blockDim.x) {
      const long long c = (long long)blockIdx.x * tx * WIDE + i;
      if (c < m.cols) add(&active[c], (word)columns[i]);
    }

  // Whichever block ends last takes the roots of the samples' squares, and leaves the
  // scratch memory as it was: all zeros.
  __threadfence();
  __syncthreads();
  if (thread == 0) last = atomicAdd(ticket, 1u) == gridDim.x * gridDim.y - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  double norms = 0;
  unsigned samples = 0;
  if (!m.direct)
    for (long long s = thread; s < m.samples; s += blockDim.x) {
      const double squares = __ldcg(&by_sample[s]);
      by_sample[s] = 0;
      if (PART_) {
        const double of = __ldcg(&by_sample[m.samples + s]);
        by_sample[m.samples + s] = 0;
        if (of != 0.0) { norms += norm_of(m, squares, of); samples++; }
      } else {
        norms += sqrt(squares);
      }
    }
  norms = lanes_sum(norms, 32);
  if (PART_) samples = lanes_sum(samples, 32);
  if (lane == 0) {
    add(&extra[NORMS_], norms);
    if (PART_) add(&extra[SAMPLE_COUNT_], (word)samples);
  }
  if (thread == 0) {
    *ticket = 0;
    add(&tally[ELEMENTS_], (word)(m.rows * m.cols));
    add(&tally[CALLS_], (word)1);
    if (!PART_) {
      add(&tally[SAMPLED_], (word)(m.rows * m.cols));
      add(&extra[SAMPLE_COUNT_], (word)m.samples);
    }
  }
}

// As in launch.py, one by one.
#define ACTRACE_PARAMETERS                                                                     \
  const void *x, const unsigned *packed, word *words, const long long *slot,                   \
      const long long *sampling, double *by_sample, unsigned *ticket, long long row_words,      \
      long long layer_at, long long active_at, long long rows, long long cols,                  \
      long long sample_rows,                                                                    \
      long long samples, long long block_rows, int units, int unit_is_row, int direct,          \
      int n_bins, int threshold, int tx, int copies

#define ACTRACE_RUN(KIND, WIDE, PART_, HISTOGRAMS)                                             \
  {                                                                                            \
    word* row = words + slot[0] * row_words;                                                   \
    Matrix m = {rows, cols, sample_rows, samples, units, unit_is_row, direct};                  \
    activation_pass<KIND, WIDE, PART_>(                                                        \
        x, packed, row + layer_at, active_at < 0 ? (word*)0 : row + active_at, sampling,       \
        by_sample, ticket, m, n_bins, (unsigned)threshold, tx, copies, block_rows, HISTOGRAMS);\
  }
