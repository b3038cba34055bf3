// What a plug-in with an engine is to its host, whatever it plays. Its `Link` is not in here: the thread of a link calls
// into the whole plug-in, and so it must end before the members of the derived class do.
#pragma once
#include "DistrhoPlugin.hpp"

#include <atomic>
#include <cstring>
#include <mutex>

#include "link.hpp"

START_NAMESPACE_DISTRHO

template <uint32_t ENGINE>  // number of the parameter that says whether the engine is ready; two more follow
class EnginePlugin : public Plugin {
 protected:
  static constexpr uint32_t MISSED = ENGINE + 1, FREEWHEEL = ENGINE + 2;
#ifdef GENAUDIO_LV2  // a port of the host's word; the others are told in their own way (bridge/daw/building.py)
  static constexpr uint32_t N_PARAMETERS = FREEWHEEL + 1;
#else
  static constexpr uint32_t N_PARAMETERS = FREEWHEEL;
#endif
  std::atomic<float> values[FREEWHEEL + 1] = {};
  std::atomic<bool> offline{false};
  std::mutex words;  // guards texts of the derived class; never taken by the process call
  genaudio::Meeting meeting;
  genaudio::Pace pace;
  genaudio::Playhead playhead;
  bool gave_up = false;
  double rate = 0;
  int64_t position = 0;  // of the next sample in

  EnginePlugin() : Plugin(N_PARAMETERS, 0, 1) {}

  virtual bool is_ready() const = 0;                  // the engine
  virtual void take_session(const char* session) = 0;  // the state that a host has kept

  const char* getMaker() const override { return "genaudio"; }
  const char* getLicense() const override { return "MIT"; }
  uint32_t getVersion() const override { return d_version(0, 2, 0); }

  float value(uint32_t index) const { return values[index].load(std::memory_order_relaxed); }
  bool on(uint32_t index) const { return value(index) > 0.5f; }
  float getParameterValue(uint32_t index) const override { return index == ENGINE ? float(is_ready()) : value(index); }
  void setParameterValue(uint32_t index, float to) override {
    values[index].store(to, std::memory_order_relaxed);
    if (index == FREEWHEEL) offline = to > 0.5f;
  }

  void initState(uint32_t, State& state) override {
    state.key = "session", state.label = "Session", state.hints = kStateIsOnlyForDSP;
    state.defaultValue = "{}";
  }
  void setState(const char* key, const char* text) override {
    if (std::strcmp(key, "offline") == 0) offline = *text == '1';  // the host's word, brought by what building.py adds to DPF
    else if (std::strcmp(key, "session") == 0) take_session(text);
  }

  // For the process call: counts a block, and tells the engine whether it is waited for.
  bool waits(uint32_t frames) {
    pace.block(frames / rate);
    const bool renders = offline.load(std::memory_order_relaxed) || pace.faster;
    meeting.word(genaudio::W_OFFLINE).store(renders, std::memory_order_relaxed);
    return renders;
  }
  void count_missed(int64_t n = 1) {
    values[MISSED].store(value(MISSED) + float(n));
    if (meeting.is_open()) meeting.word(genaudio::W_MISSED).store(int64_t(value(MISSED)), std::memory_order_relaxed);
  }
};

END_NAMESPACE_DISTRHO
