// A VST3 effect for the tests: a gain, 300 samples late as it says itself, which crashes as soon as its second knob is
// turned up. Built by DPF (Debian's dpf-source).
#include "DistrhoPlugin.hpp"
#include <cstdlib>
#include <cstring>
#include <vector>
START_NAMESPACE_DISTRHO
class Crash : public Plugin {
  static constexpr uint32_t kLate = 300;
  float gain = 1, crash = 0;
  std::vector<float> past[2];
  uint32_t at = 0;
public:
  Crash() : Plugin(2, 0, 0), past{std::vector<float>(kLate), std::vector<float>(kLate)} { setLatency(kLate); }
protected:
  const char* getLabel() const override { return "Crash"; }
  const char* getMaker() const override { return "genaudio"; }
  const char* getLicense() const override { return "MIT"; }
  uint32_t getVersion() const override { return d_version(1, 0, 0); }
  int64_t getUniqueId() const override { return d_cconst('g', 'C', 'r', 'a'); }
  void initParameter(uint32_t index, Parameter& p) override {
    p.hints = kParameterIsAutomatable;
    p.name = index ? "Crash" : "Loudness";
    p.symbol = index ? "crash" : "loudness";
    p.ranges.min = 0; p.ranges.max = index ? 1 : 2; p.ranges.def = index ? 0 : 1;
  }
  float getParameterValue(uint32_t index) const override { return index ? crash : gain; }
  void setParameterValue(uint32_t index, float value) override { (index ? crash : gain) = value; }
  void run(const float** in, float** out, uint32_t frames) override {
    if (crash > 0.5f) std::abort();
    for (uint32_t i = 0; i < frames; ++i, at = (at + 1) % kLate)
      for (int c = 0; c < 2; ++c) { const float x = in[c][i]; out[c][i] = gain * past[c][at]; past[c][at] = x; }
  }
};
Plugin* createPlugin() { return new Crash(); }
END_NAMESPACE_DISTRHO
