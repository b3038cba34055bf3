// genaudio stems: four sounds pulled out of a stereo track, and what is left. The engine does the work (bridge/daw);
// here a block goes into one ring and what belongs to the block `latency` samples ago is taken from another.
//
// The process call takes no lock, makes no system call, allocates nothing and waits for nobody while the host plays.
// Where the host renders, it waits for the engine: two seconds a block at most, and twenty where it only starts.
#include <cmath>
#include <string>
#include <vector>

#include "../engine_plugin.hpp"

START_NAMESPACE_DISTRHO
using namespace genaudio;

constexpr uint32_t STEMS = 4, PAIRS = STEMS + 2, OUTS = 2 * PAIRS, CHUNK = 8192, HISTORY = 1u << 17;
constexpr uint32_t WEIGHTS = STEMS + 3;  // of each stem, the rest and the dry signal in the monitor; of wet at all
constexpr uint32_t CHANGES = 4096, SILENCE = 8192;
constexpr float SILENT_DB = -60.f, RAMP = 64.f;  // samples from one level to another
const char* const WORDS[] = {
    "own words", "drums", "bass", "vocals", "guitar", "piano", "electric guitar", "acoustic guitar", "strings",
    "brass", "organ", "synth", "synth bass", "electric piano", "kick drum", "snare drum", "hi-hat", "cymbals",
    "hand percussion", "violin", "cello", "trumpet", "saxophone", "flute", "choir"};
constexpr uint32_t N_WORDS = sizeof WORDS / sizeof *WORDS;

// Numbers of parameters never change: sessions and automation hold them. New ones are added at the end.
enum : uint32_t { P_BYPASS, P_WET, P_REST_GAIN, P_REST_MUTE, P_REST_SOLO, P_STEM };
enum : uint32_t { S_QUERY, S_GAIN, S_MUTE, S_SOLO, S_COUNT };
constexpr uint32_t P_ENGINE = P_STEM + STEMS * S_COUNT;  // and two more: see EnginePlugin

struct Change {  // of levels, at a position of the stream
  int64_t at;
  float weights[WEIGHTS];
};

class StemsPlugin : public EnginePlugin<P_ENGINE> {
  std::atomic<int> text_version{1};
  std::string texts[STEMS], model, hash, wanted;
  Link link;
  bool begins = true;
  int seen_lost = 0;
  uint32_t latency = 0;
  int64_t start = 0;                // position of the first sample since it was switched on
  int64_t onset = -1;               // where sound came after silence before the transport was started
  uint32_t silent = 0;              // samples of nothing until now
  bool stands = false;              // the host has a transport, and it does not run
  int64_t rolled = -1;              // where it has started to run, while nothing has sounded since
  float told[STEMS] = {};
  int told_version = 0;
  std::vector<float> history[2], scratch[2 * STEMS], clean[2], nothing = std::vector<float>(CHUNK, 0.f);
  std::vector<Change> changes;
  uint64_t first_change = 0, n_changes = 0;
  float now_at[WEIGHTS] = {}, target[WEIGHTS] = {}, step[WEIGHTS] = {}, asked[WEIGHTS] = {};
  uint32_t ramp_left = 0;
  bool had = true;  // there were results for the last sample
  float fade = 1, click = 0, offset[OUTS] = {}, last_wet[OUTS] = {};

 public:
  StemsPlugin()
      : link([this] { return hello(); }, [this](const std::string& line) { heard(line); }) {
    values[P_WET] = 1;
    for (uint32_t i = 0; i < STEMS; ++i) values[P_STEM + S_COUNT * i + S_QUERY] = float(i + 1);
    for (auto& one : history) one.assign(HISTORY, 0.f);
    for (auto& one : scratch) one.assign(CHUNK, 0.f);
    for (auto& one : clean) one.assign(CHUNK, 0.f);
    changes.resize(CHANGES);
    prepare(getSampleRate());
  }

 protected:
  const char* getLabel() const override { return "genaudio_stems"; }
  const char* getDescription() const override { return "Pulls up to four sounds, asked for by words, out of a track."; }
  int64_t getUniqueId() const override { return d_cconst('g', 'A', 's', 't'); }

  void initAudioPort(bool input, uint32_t index, AudioPort& port) override {
    static const char* const names[PAIRS] = {"Monitor", "Stem 1", "Stem 2", "Stem 3", "Stem 4", "Rest"};
    const uint32_t pair = index / 2;
    port.groupId = input || pair == 0 ? uint32_t(kPortGroupStereo) : pair - 1;
    port.name = String(input ? "Input" : names[pair]) + (index % 2 ? " right" : " left");
    port.symbol = String(input ? "in_" : "out_") + String(int(index + 1));
  }

  void initPortGroup(uint32_t group, PortGroup& info) override {
    static const char* const names[] = {"Stem 1", "Stem 2", "Stem 3", "Stem 4", "Rest"};
    static const char* const symbols[] = {"stem_1", "stem_2", "stem_3", "stem_4", "rest"};
    if (group > STEMS) return Plugin::initPortGroup(group, info);
    info.name = names[group], info.symbol = symbols[group];
  }

  static void level(Parameter& p, const String& name, const String& symbol) {
    p.hints = kParameterIsAutomatable, p.name = name, p.symbol = symbol, p.unit = "dB";
    p.ranges = ParameterRanges(0.f, SILENT_DB, 12.f);
  }
  static void button(Parameter& p, const String& name, const String& symbol) {
    p.hints = kParameterIsAutomatable | kParameterIsBoolean, p.name = name, p.symbol = symbol;
  }

  void initParameter(uint32_t index, Parameter& p) override {
    if (index == P_BYPASS) return p.initDesignation(kParameterDesignationBypass);
    if (index == P_WET) {
      p.hints = kParameterIsAutomatable, p.name = "Wet", p.symbol = "wet", p.ranges = ParameterRanges(1.f, 0.f, 1.f);
    } else if (index == P_REST_GAIN) {
      level(p, String("Rest gain"), String("rest_gain"));
    } else if (index == P_REST_MUTE || index == P_REST_SOLO) {
      button(p, String(index == P_REST_MUTE ? "Rest mute" : "Rest solo"), String(index == P_REST_MUTE ? "rest_mute" : "rest_solo"));
    } else if (index < P_ENGINE) {
      const uint32_t stem = (index - P_STEM) / S_COUNT, what = (index - P_STEM) % S_COUNT;
      const String number(int(stem + 1)), name = String("Stem ") + number, symbol = String("stem_") + number;
      if (what == S_GAIN) return level(p, name + " gain", symbol + "_gain");
      if (what != S_QUERY)
        return button(p, name + (what == S_MUTE ? " mute" : " solo"), symbol + (what == S_MUTE ? "_mute" : "_solo"));
      p.hints = kParameterIsAutomatable | kParameterIsInteger;
      p.name = name + " query", p.symbol = symbol + "_query";
      p.ranges = ParameterRanges(float(stem + 1), 0.f, float(N_WORDS - 1));
      p.enumValues.count = N_WORDS, p.enumValues.restrictedMode = true;
      p.enumValues.values = new ParameterEnumerationValue[N_WORDS];
      for (uint32_t i = 0; i < N_WORDS; ++i) {
        p.enumValues.values[i].label = WORDS[i];
        p.enumValues.values[i].value = float(i);
      }
    } else if (index == FREEWHEEL) {
      p.hints = kParameterIsBoolean | kParameterIsInteger, p.name = "Freewheel", p.symbol = "freewheel";
    } else {
      p.hints = kParameterIsOutput | kParameterIsInteger;
      p.name = index == P_ENGINE ? "Engine" : "Missed blocks", p.symbol = index == P_ENGINE ? "engine" : "missed";
      p.ranges = ParameterRanges(0.f, 0.f, index == P_ENGINE ? 1.f : 1e6f);
    }
  }

  bool is_ready() const override { return link.ready; }

  // --- state: what parameters cannot hold

  String getState(const char*) const override {
    auto* self = const_cast<StemsPlugin*>(this);
    std::lock_guard<std::mutex> lock(self->words);
    std::string out = "{\"format\": 1, \"model\": " + json_quoted(model) + ", \"hash\": " + json_quoted(hash);
    return String((out + texts_as_json() + "}").c_str());
  }

  void take_session(const char* session) override {
    {
      std::lock_guard<std::mutex> lock(words);
      for (uint32_t i = 0; i < STEMS; ++i) texts[i] = json_text(session, "text" + std::to_string(i + 1));
      wanted = json_text(session, "hash");
      ++text_version;
    }
    say_texts();
  }

  std::string texts_as_json() const {
    std::string out;
    for (uint32_t i = 0; i < STEMS; ++i) out += ", \"text" + std::to_string(i + 1) + "\": " + json_quoted(texts[i]);
    return out;
  }
  void say_texts() {
    std::lock_guard<std::mutex> lock(words);
    if (link.ready) link.starting = true;  // until the engine says that it is ready for them
    link.send("{\"texts\": " + std::to_string(text_version) + texts_as_json() + "}");
  }

  std::string hello() {
    std::lock_guard<std::mutex> lock(words);
    std::string out = "{\"genaudio\": \"stems\", \"protocol\": " + std::to_string(PROTOCOL) +
                      ", \"texts\": " + std::to_string(text_version) + texts_as_json() +
                      ", \"hash\": " + json_quoted(wanted) + ", \"words\": [";
    for (uint32_t i = 0; i < N_WORDS; ++i) out += (i ? ", " : "") + json_quoted(WORDS[i]);
    return out + "]}";
  }

  void heard(const std::string& line) {  // in the link's thread
    if (json_text(line, "state") == "ready") {
      std::lock_guard<std::mutex> lock(words);
      model = json_text(line, "model"), hash = json_text(line, "hash");
    }
    if (json_number(line, "set_texts") > 0) {  // from `genaudio plugin query`
      {
        std::lock_guard<std::mutex> lock(words);
        for (uint32_t i = 0; i < STEMS; ++i) texts[i] = json_text(line, "text" + std::to_string(i + 1), texts[i]);
        ++text_version;
      }
      say_texts();
    }
  }

  // --- switching on

  // One latency for a rate, told before it is switched on. Blocks of up to 1,024 samples have time for the network;
  // hosts that announce larger ones get one that fits those.
  void prepare(double new_rate) {
    const uint32_t scale = new_rate > 50000 ? 2 : 1;
    uint32_t block = 1024 * scale;
    while (block < getBufferSize() && block < 8192) block *= 2;
    const uint32_t wanted_latency = block + 1024 * scale;
    if (new_rate == rate && wanted_latency == latency) return;
    link.close(), meeting.close();
    rate = new_rate, latency = wanted_latency, position = 0;
    setLatency(latency);
  }
  void sampleRateChanged(double new_rate) override { prepare(new_rate); }
  void bufferSizeChanged(uint32_t) override { prepare(getSampleRate()); }

  void activate() override {
    prepare(getSampleRate());
    setLatency(latency);
    if (!meeting.is_open()) {
      if (!meeting.open(2, 2 * STEMS, rate, latency)) d_stderr("genaudio: no shared memory: dry.");
      else link.open(meeting.descriptor);
    }
    for (auto& one : history) std::fill(one.begin(), one.end(), 0.f);
    start = position, onset = -1, silent = 0, stands = false, rolled = -1;
    playhead = Playhead();
    pace.begin();
    first_change = n_changes = 0, ramp_left = 0;
    wish(asked);
    std::copy(asked, asked + WEIGHTS, now_at), std::copy(asked, asked + WEIGHTS, target);
    had = true, fade = 1, click = 0, gave_up = false;
    begins = true;
    if (offline && meeting.is_open()) link.wait(20.0);  // a host that renders may wait here, and nowhere else so long
  }

  // --- the process call

  void segment(int64_t at) {  // the engine begins afresh here: the same music becomes the same stems, whatever was before
    begins = !meeting.to_engine.push({at, SEGMENT, 0, 0, 0});  // full: nobody is there; it is said again
    if (begins) return;
    told_version = 0;
    ask(at);
  }

  void ask(int64_t at) {
    const int version = text_version.load(std::memory_order_relaxed);
    for (uint32_t i = 0; i < STEMS; ++i) {
      const float query = value(P_STEM + S_COUNT * i + S_QUERY);
      if (query == told[i] && version == told_version) continue;
      told[i] = query;
      meeting.word(W_VALUES + i).store(int64_t(query + 0.5f), std::memory_order_relaxed);
      meeting.to_engine.push({at, VALUE, int32_t(i), double(query), double(version)});
    }
    meeting.word(W_VALUES + STEMS).store(version, std::memory_order_relaxed);
    told_version = version;
  }

  static float factor(float db) { return db <= SILENT_DB ? 0.f : std::pow(10.f, db / 20.f); }

  void wish(float* to) const {  // the levels that the parameters ask for
    const auto knob = [](uint32_t stem, uint32_t what) { return P_STEM + S_COUNT * stem + what; };
    bool solo = on(P_REST_SOLO);
    for (uint32_t i = 0; i < STEMS; ++i) solo = solo || on(knob(i, S_SOLO));
    const float wet = value(P_WET);
    for (uint32_t i = 0; i < STEMS; ++i) {
      const bool heard = !on(knob(i, S_MUTE)) && (!solo || on(knob(i, S_SOLO)));
      to[i] = heard ? wet * factor(value(knob(i, S_GAIN))) : 0.f;
    }
    const bool heard = !on(P_REST_MUTE) && (!solo || on(P_REST_SOLO));
    to[STEMS] = heard ? wet * factor(value(P_REST_GAIN)) : 0.f;
    to[STEMS + 1] = 1 - wet;
    to[STEMS + 2] = on(P_BYPASS) ? 0.f : 1.f;
  }

  void note_levels() {  // they are heard when the sound that goes in now comes out
    float wanted_now[WEIGHTS];
    wish(wanted_now);
    if (std::equal(asked, asked + WEIGHTS, wanted_now)) return;
    std::copy(wanted_now, wanted_now + WEIGHTS, asked);
    if (n_changes == CHANGES) --n_changes;  // the newest stands for both
    Change& change = changes[(first_change + n_changes++) % CHANGES];
    change.at = position;
    std::copy(asked, asked + WEIGHTS, change.weights);
  }

  void run(const float** inputs, float** outputs, uint32_t frames) override {
    const TimePosition& time = getTimePosition();
    // A host that plays ahead by our latency sends the first sounds before it says that its transport runs (Ardour).
    const bool ahead = stands && onset >= start && onset >= position - int64_t(latency);
    if (playhead.jumped(time.playing, int64_t(time.frame), frames) && !ahead) begins = true, rolled = stands ? position : -1;
    stands = time.bbt.valid && !time.playing;
    const int lost = link.lost.load(std::memory_order_relaxed);
    if (lost != seen_lost) seen_lost = lost, begins = true;  // another engine comes, which knows nothing
    for (uint32_t done = 0; done < frames;) {
      const uint32_t n = std::min(frames - done, CHUNK);
      chunk(inputs, outputs, done, n);
      done += n;
    }
  }

  void chunk(const float** inputs, float** outputs, uint32_t done, uint32_t n) {
    note_levels();
    int64_t comes = -1;
    for (uint32_t i = 0; i < n; ++i) {
      if (inputs[0][done + i] == 0 && inputs[1][done + i] == 0) {
        ++silent;
        continue;
      }
      if (silent >= SILENCE && stands && comes < 0) comes = onset = position + i;
      // Silence of which the music knows nothing: a host that makes up for our latency rolls that much earlier.
      if (rolled >= 0 && position + i > rolled && position + i <= rolled + int64_t(latency + SILENCE)) comes = position + i;
      rolled = -1, silent = 0;
    }
    for (uint32_t c = 0; c < 2; ++c)
      for (uint32_t i = 0; i < n; ++i) {
        const float sample = inputs[c][done + i];
        clean[c][i] = std::isfinite(sample) ? sample : 0.f;
        history[c][uint32_t(position + i) & (HISTORY - 1)] = clean[c][i];
      }
    const int64_t wanted_from = position - latency;
    uint32_t from = 0, to = 0;
    float* into[2 * STEMS];
    for (uint32_t c = 0; c < 2 * STEMS; ++c) into[c] = scratch[c].data();
    if (meeting.is_open()) {
      if (begins) segment(position);
      else ask(position);
      if (comes > 0) segment(comes);
      const float* in[2] = {clean[0].data(), clean[1].data()};
      meeting.in.write(in, n);
      if (waits(n) && wanted_from + n > start && !wait_for(meeting, link, pace, wanted_from + n, gave_up))
        d_stderr("genaudio: the engine did not answer while rendering: dry from here.");
      meeting.out.read(into, wanted_from, n, from, to);
    }
    position += n;
    // Before it was switched on there was silence, and that is no result that is missed.
    const uint32_t before = uint32_t(std::max<int64_t>(0, std::min<int64_t>(n, start - wanted_from)));
    for (uint32_t c = 0; c < 2 * STEMS; ++c) std::fill(into[c], into[c] + before, 0.f);
    if (from <= before) from = 0;
    if (to < before) from = 0, to = before;
    if (to - from < n) count_missed();
    mix(outputs, wanted_from, done, 0, from, false);
    mix(outputs, wanted_from, done, from, to, true);
    mix(outputs, wanted_from, done, to, n, false);
  }

  // Samples [from, to) of the block, with results for all of them or for none.
  void mix(float** outputs, int64_t first, uint32_t done, uint32_t from, uint32_t to, bool wet) {
    if (from == to) return;
    if (had && !wet) {  // nothing is there to fade out: the step to dry is taken back bit by bit
      std::copy(last_wet, last_wet + OUTS, offset);
      click = 1, fade = 0;
    }
    had = wet;
    const float fade_step = float(1 / (0.01 * rate)), click_step = float(1 / (0.004 * rate));
    for (uint32_t i = from; i < to;) {
      const uint32_t still = standing(first + i, to - i, wet);
      if (still > 1) {  // the last one goes the long way, which notes what a step to dry would begin with
        mix_standing(outputs, first + i, done + i, i, still - 1, wet);
        i += still - 1;
      }
      levels(first + i);
      if (wet && fade < 1) fade = std::min(1.f, fade + fade_step);
      const float amount = (wet ? fade : 0.f) * now_at[STEMS + 2];
      for (uint32_t c = 0; c < 2; ++c) {
        const float dry = history[c][uint32_t(first + i) & (HISTORY - 1)];
        float stems[STEMS], out[PAIRS];
        for (uint32_t s = 0; s < STEMS; ++s) stems[s] = wet ? scratch[2 * s + c][i] : 0.f;
        blend(now_at, amount, dry, stems, out);
        for (uint32_t p = 0; p < PAIRS; ++p) {
          const uint32_t o = 2 * p + c;
          if (click > 0) out[p] += click * offset[o];
          last_wet[o] = out[p] - (p == 0 || p == PAIRS - 1 ? dry : 0.f);
          outputs[o][done + i] = out[p];
        }
      }
      if (click > 0) click = std::max(0.f, click - click_step);
      ++i;
    }
  }

  // How many of the next `n` samples no level, fade or step changes at.
  uint32_t standing(int64_t at, uint32_t n, bool wet) const {
    if (ramp_left || click > 0 || (wet && fade < 1)) return 0;
    if (!n_changes) return n;
    return uint32_t(std::max<int64_t>(0, std::min<int64_t>(n, changes[first_change % CHANGES].at - at)));
  }

  // The same on levels that stand: the compiler takes several samples at once.
  void mix_standing(float** outputs, int64_t at, uint32_t out_at, uint32_t in_at, uint32_t n, bool wet) {
    const float amount = wet ? now_at[STEMS + 2] : 0.f;
    float weights[WEIGHTS];
    std::copy(now_at, now_at + WEIGHTS, weights);
    for (uint32_t c = 0; c < 2; ++c)
      for (uint32_t done = 0; done < n;) {  // as far as the history goes on in one piece
        const uint32_t begin = uint32_t(at + done) & (HISTORY - 1), many = std::min(n - done, HISTORY - begin);
        const float *stem[STEMS], *dry = history[c].data() + begin;
        float* to[PAIRS];
        for (uint32_t s = 0; s < STEMS; ++s) stem[s] = (wet ? scratch[2 * s + c].data() : nothing.data()) + in_at + done;
        for (uint32_t p = 0; p < PAIRS; ++p) to[p] = outputs[2 * p + c] + out_at + done;
#pragma GCC ivdep
        for (uint32_t i = 0; i < many; ++i) {
          float stems[STEMS], out[PAIRS];
          for (uint32_t s = 0; s < STEMS; ++s) stems[s] = stem[s][i];
          blend(weights, amount, dry[i], stems, out);
          for (uint32_t p = 0; p < PAIRS; ++p) to[p][i] = out[p];
        }
        done += many;
      }
  }

  // One sample of one side: monitor, stems, rest.
  static void blend(const float* weights, float amount, float dry, const float* stems, float* out) {
    float sum = 0, mixed = 0;
    for (uint32_t s = 0; s < STEMS; ++s) {
      sum += stems[s], mixed += weights[s] * stems[s];
      out[1 + s] = amount * stems[s];
    }
    mixed += weights[STEMS] * (dry - sum) + weights[STEMS + 1] * dry;
    out[0] = amount == 1 ? mixed : amount * mixed + (1 - amount) * dry;
    out[PAIRS - 1] = dry - amount * sum;
  }

  void levels(int64_t at) {
    while (n_changes && changes[first_change % CHANGES].at <= at) {
      const Change& change = changes[first_change++ % CHANGES];
      --n_changes;
      ramp_left = change.at <= start ? 1 : uint32_t(RAMP);  // what is set at the start holds from the start
      for (uint32_t w = 0; w < WEIGHTS; ++w) {
        target[w] = change.weights[w];
        step[w] = (target[w] - now_at[w]) / RAMP;
      }
    }
    if (!ramp_left) return;
    --ramp_left;
    for (uint32_t w = 0; w < WEIGHTS; ++w) now_at[w] = ramp_left ? now_at[w] + step[w] : target[w];
  }
};

Plugin* createPlugin() { return new StemsPlugin(); }
END_NAMESPACE_DISTRHO
