
static unsigned histograms_[1 << 16];
#define CASE(KIND, WIDE) \
  if (kind == KIND && wide == WIDE) launch(across, down, threads, seed, [&] ACTRACE_RUN(KIND, WIDE, histograms_))
extern "C" void run(int kind, int wide, int across, int down, int threads, unsigned seed,
                    ACTRACE_PARAMETERS) {
  CASE(0, 1); CASE(0, 4); CASE(1, 1); CASE(1, 4); CASE(2, 1); CASE(2, 4);
}
