// What the host's time tells: whether it renders faster than it plays, and where a new stretch of music begins.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace genaudio {

inline double now() {  // seconds; no system call: the kernel's page answers
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

// For hosts that do not say when they render: over a second of music, not half a second has passed outside our waits.
class Pace {
  double music = 0, waited = 0, began = 0;

 public:
  bool faster = false;
  void begin() { music = waited = 0, began = now(), faster = false; }
  void took(double seconds) { waited += seconds; }
  void block(double seconds) {
    music += seconds;
    if (music < 1.0) return;
    faster = now() - began - waited < 0.5 * music;
    music = waited = 0, began = now();
  }
};

// Whether the transport was started or moved; a host that tells no position has never moved it.
class Playhead {
  bool playing = false;
  int64_t frame = 0, frames = 0;

 public:
  bool jumped(bool plays, int64_t at, uint32_t n) {
    const bool told = at != frame || frames == 0;
    const bool jump = plays && (!playing || (told && std::llabs(at - frame - frames) > 1));
    playing = plays, frame = at, frames = n;
    return jump;
  }
};

}  // namespace genaudio
