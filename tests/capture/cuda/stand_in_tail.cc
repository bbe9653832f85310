
static unsigned histograms_[1 << 16];
#define CASE_OF(KIND, WIDE, PART) \
  if (kind == KIND && wide == WIDE && part == PART) \
    launch(across, down, threads, seed, [&] ACTRACE_RUN(KIND, WIDE, PART, histograms_))
#define CASE(KIND, WIDE) CASE_OF(KIND, WIDE, 0); CASE_OF(KIND, WIDE, 1)
extern "C" void run(int kind, int wide, int part, int across, int down, int threads, unsigned seed,
                    ACTRACE_PARAMETERS) {
  CASE(0, 1); CASE(0, 4); CASE(1, 1); CASE(1, 4); CASE(2, 1); CASE(2, 4);
}

// A driver: a kernel is 100 * part + 10 * kind + wide, its arguments come as addresses, in their order.
#define GIVEN(TYPE, AT) (*(TYPE*)arguments[AT])
extern "C" int cuLaunchKernel(void* kernel, unsigned across, unsigned down, unsigned,
                              unsigned threads, unsigned, unsigned, unsigned shared, void*,
                              void** arguments, void**) {
  const int number = (int)(size_t)kernel, copies = GIVEN(int, 21), n_bins = GIVEN(int, 18);
  if (shared != 4u * copies * (2 * n_bins + 6)) return 1;
  run(number / 10 % 10, number % 10, number / 100, across, down, threads, across + 7 * down,
      GIVEN(const void*, 0), GIVEN(const unsigned*, 1), GIVEN(word*, 2), GIVEN(const long long*, 3),
      GIVEN(const long long*, 4), GIVEN(double*, 5), GIVEN(unsigned*, 6), GIVEN(long long, 7),
      GIVEN(long long, 8), GIVEN(long long, 9), GIVEN(long long, 10), GIVEN(long long, 11),
      GIVEN(long long, 12), GIVEN(long long, 13), GIVEN(long long, 14), GIVEN(int, 15),
      GIVEN(int, 16), GIVEN(int, 17), n_bins, GIVEN(int, 19), GIVEN(int, 20), copies);
  return 0;
}
