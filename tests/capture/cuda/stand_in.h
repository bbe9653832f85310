// CUDA on the CPU, as far as activation_pass.cu needs it: the threads of a block are
// fibers that change places wherever they wait for each other, in a shuffled order, so
// that a missing barrier shows. Blocks run one after another.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <vector>

#define __device__
#define __restrict__
#define __shared__ static
#define FIBER_STACK (64 * 1024)

struct Index { unsigned x, y, z; };
static Index threadIdx, blockIdx, blockDim, gridDim;

struct Fiber {
  ucontext_t context;
  std::vector<char> stack;
  bool ended;
  unsigned long long waits;  // how often it waited for its block; of its warp below
  unsigned long long warp_waits;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static int current;
static unsigned long long lanes_[64][32];
static unsigned random_state;

static void change() { swapcontext(&fibers[current].context, &scheduler); }
// A fiber goes on once every one in the range that still runs has come as far.
static void together(int from, int to, unsigned long long Fiber::*waits) {
  const int me = current;
  fibers[me].*waits += 1;
  for (;;) {
    bool all = true;
    for (int i = from; i < to; i++) all = all && (fibers[i].ended || fibers[i].*waits >= fibers[me].*waits);
    if (all) return;
    change();
  }
}
static void __syncthreads() { together(0, (int)fibers.size(), &Fiber::waits); }
static void warp_together() {
  const int from = current / 32 * 32;
  together(from, from + 32, &Fiber::warp_waits);
}
static void __threadfence() {}

template <typename T>
static T __shfl_xor_sync(unsigned, T value, int apart) {
  const int warp = current / 32, lane = current % 32;
  memcpy(&lanes_[warp][lane], &value, sizeof(T));
  warp_together();
  T other;
  memcpy(&other, &lanes_[warp][lane ^ apart], sizeof(T));
  warp_together();
  return other;
}
static int __any_sync(unsigned, int value) {
  const int warp = current / 32;
  lanes_[warp][current % 32] = value != 0;
  warp_together();
  int any = 0;
  for (int i = 0; i < 32; i++) any |= (int)lanes_[warp][i];
  warp_together();
  return any;
}
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static int __popc(unsigned bits) { return __builtin_popcount(bits); }
static float __uint_as_float(unsigned bits) { float x; memcpy(&x, &bits, 4); return x; }
static unsigned __float_as_uint(float x) { unsigned bits; memcpy(&bits, &x, 4); return bits; }
static long long __double_as_longlong(double x) { long long bits; memcpy(&bits, &x, 8); return bits; }
template <typename T> static T __ldcg(const T* at) { return *at; }
template <typename T> static T atomicAdd(T* at, T value) { T was = *at; *at += value; return was; }
template <typename T> static T atomicMin(T* at, T value) { T was = *at; if (value < was) *at = value; return was; }
template <typename T> static T atomicMax(T* at, T value) { T was = *at; if (value > was) *at = value; return was; }
template <typename T> static T atomicCAS(T* at, T from, T to) { T was = *at; if (was == from) *at = to; return was; }
static float actrace_half(unsigned short bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float size = exponent == 31 ? (fraction ? NAN : INFINITY)
      : exponent ? ldexpf((float)(1024 + fraction), exponent - 25)
                 : ldexpf((float)fraction, -24);
  return bits >> 15 ? -size : size;
}

template <typename F> static F* body_;
template <typename F> static void enter() {
  (*body_<F>)();
  fibers[current].ended = true;
  change();
}
template <typename F>
static void launch(int across, int down, int threads, unsigned seed, F body) {
  body_<F> = &body;
  random_state = seed;
  gridDim = {(unsigned)across, (unsigned)down, 1};
  blockDim = {(unsigned)threads, 1, 1};
  for (unsigned y = 0; y < gridDim.y; y++)
    for (unsigned x = 0; x < gridDim.x; x++) {
      blockIdx = {x, y, 0};
      fibers.assign(threads, Fiber());
      for (Fiber& fiber : fibers) {
        getcontext(&fiber.context);
        fiber.stack.resize(FIBER_STACK);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = FIBER_STACK;
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, enter<F>, 0);
      }
      for (int left = threads; left;) {
        random_state = random_state * 1664525u + 1013904223u;
        const int start = random_state >> 8;
        left = 0;
        for (int i = 0; i < threads; i++) {
          current = (int)((unsigned)(start + i * 5) % (unsigned)threads);
          if (fibers[current].ended) continue;
          left++;
          threadIdx = {(unsigned)current, 0, 0};
          swapcontext(&scheduler, &fibers[current].context);
        }
      }
    }
}
