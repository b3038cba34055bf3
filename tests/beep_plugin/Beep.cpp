// A VST3 instrument for the tests: a cosine while a key is held, at full velocity half of full scale. It never lets go
// of a key by itself, not even at a reset. Built by DPF (Debian's dpf-source).
#include "DistrhoPlugin.hpp"
#include <cmath>
START_NAMESPACE_DISTRHO
class Beep : public Plugin {
  int note = -1; double phase = 0; float level = 0;
public:
  Beep() : Plugin(0, 0, 0) {}
protected:
  const char* getLabel() const override { return "Beep"; }
  const char* getMaker() const override { return "genaudio"; }
  const char* getLicense() const override { return "MIT"; }
  uint32_t getVersion() const override { return d_version(1, 0, 0); }
  int64_t getUniqueId() const override { return d_cconst('g', 'B', 'e', 'p'); }
  void initParameter(uint32_t, Parameter&) override {}
  float getParameterValue(uint32_t) const override { return 0; }
  void setParameterValue(uint32_t, float) override {}
  void run(const float**, float** out, uint32_t frames, const MidiEvent* events, uint32_t count) override {
    uint32_t next = 0;
    for (uint32_t i = 0; i < frames; ++i) {
      while (next < count && events[next].frame <= i) {
        const uint8_t* d = events[next++].data;
        if ((d[0] & 0xF0) == 0x90 && d[2]) { note = d[1]; phase = 0; level = d[2] / 254.f; }
        else if (((d[0] & 0xF0) == 0x80 || (d[0] & 0xF0) == 0x90) && d[1] == note) note = -1;
      }
      float v = 0;
      if (note >= 0) {
        v = level * std::cos(phase);
        phase += 2 * M_PI * 440 * std::pow(2, (note - 69) / 12.) / getSampleRate();
      }
      out[0][i] = out[1][i] = v;
    }
  }
};
Plugin* createPlugin() { return new Beep(); }
END_NAMESPACE_DISTRHO
