// A VST3 effect for the tests: a gain, 300 samples late as it says itself, which crashes as soon as its second knob is
// turned up. Its third knob makes other trouble: 1 hangs, 2 gives NaN, 3 is 300 samples later from then on. With
// GENAUDIO_TEST_LOADING=crash or =hang in the environment it does so while it is loaded. Built by DPF (dpf-source).
#include "DistrhoPlugin.hpp"
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <unistd.h>
#include <vector>
START_NAMESPACE_DISTRHO
class Crash : public Plugin {
  static constexpr uint32_t kLate = 300;
  float gain = 1, crash = 0, trouble = 0;
  std::vector<float> past[2];
  uint32_t at = 0, late = kLate;
public:
  Crash() : Plugin(3, 0, 0), past{std::vector<float>(2 * kLate), std::vector<float>(2 * kLate)} {
    setLatency(kLate);
    const char* loading = std::getenv("GENAUDIO_TEST_LOADING");
    if (loading && !std::strcmp(loading, "crash")) std::abort();
    if (loading && !std::strcmp(loading, "hang")) for (;;) sleep(1);
  }
protected:
  const char* getLabel() const override { return "Crash"; }
  const char* getMaker() const override { return "genaudio"; }
  const char* getLicense() const override { return "MIT"; }
  uint32_t getVersion() const override { return d_version(1, 0, 0); }
  int64_t getUniqueId() const override { return d_cconst('g', 'C', 'r', 'a'); }
  void initParameter(uint32_t index, Parameter& p) override {
    p.hints = kParameterIsAutomatable;
    p.name = index == 2 ? "Trouble" : index ? "Crash" : "Loudness";
    p.symbol = index == 2 ? "trouble" : index ? "crash" : "loudness";
    p.ranges.min = 0; p.ranges.max = index == 2 ? 3 : index ? 1 : 2; p.ranges.def = index ? 0 : 1;
  }
  float getParameterValue(uint32_t index) const override { return index == 2 ? trouble : index ? crash : gain; }
  void setParameterValue(uint32_t index, float value) override {
    (index == 2 ? trouble : index ? crash : gain) = value;
  }
  void run(const float** in, float** out, uint32_t frames) override {
    if (crash > 0.5f) std::abort();
    if (trouble > 0.5f && trouble < 1.5f) for (;;) sleep(1);
    if (trouble > 2.5f && late == kLate) setLatency(late = 2 * kLate);
    const bool broken = trouble > 1.5f && trouble < 2.5f;
    for (uint32_t i = 0; i < frames; ++i, at = (at + 1) % late)
      for (int c = 0; c < 2; ++c) {
        const float x = in[c][i];
        out[c][i] = broken ? NAN : gain * past[c][at];
        past[c][at] = x;
      }
  }
};
Plugin* createPlugin() { return new Crash(); }
END_NAMESPACE_DISTRHO
