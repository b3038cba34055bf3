// genaudio band: hears what comes in on its track, and plays with it on the host's time. The engine does the work
// (bridge/daw); here each block tells it how far time has come, and plays on their frames the notes that it has sent
// ahead. A note is stamped with its beat, so that it lies where the host's beat is, whatever the tempo does meanwhile.
//
// Whatever sounds is in a table, and ends when the host stops or jumps, at bypass and panic, and when the engine is
// gone or stands still. Notes of an earlier turn (a start, stop or jump begins one) are dropped. A loop over whole bars
// is no turn: what sounds ends there, and the plan goes on, as the bars do.
#include <cmath>
#include <string>

#include "../engine_plugin.hpp"

START_NAMESPACE_DISTRHO
using namespace genaudio;

// Numbers of parameters, and places in their lists, never change: sessions and automation hold them.
const char* const PRESETS[] = {"own text", "duet", "band", "busker", "continuo", "drummer", "endless", "house",
    "orchestrate", "sketchbook", "string-quartet", "take-over", "trading-fours"};
const char* const MODES[] = {"preset's", "respond", "take_over", "accompany", "free", "arrange"};
const char* const KEYS[] = {"preset's", "auto", "off", "C major", "Db major", "D major", "Eb major", "E major", "F major",
    "F# major", "G major", "Ab major", "A major", "Bb major", "B major", "C minor", "C# minor", "D minor", "Eb minor",
    "E minor", "F minor", "F# minor", "G minor", "G# minor", "A minor", "Bb minor", "B minor"};
enum : uint32_t { P_BYPASS, P_PRESET, P_MODE, P_TEMPERATURE, P_DENSITY, P_KEY, P_SEED, P_MUTE, P_PLAY = P_MUTE + 4,
    P_NEXT, P_KEEP, P_UNDO, P_PANIC, P_ENGINE, P_MISSED, P_FREEWHEEL, P_ALL };
static_assert(P_ALL == P_ENGINE + 3);  // as EnginePlugin counts
struct Knob { const char *name, *symbol; float low, high, normal; uint32_t hints; };
constexpr uint32_t BUTTON = kParameterIsAutomatable | kParameterIsBoolean, LIST = kParameterIsAutomatable | kParameterIsInteger;
const Knob KNOBS[P_ALL] = {
    {"Bypass", "bypass", 0, 1, 0, BUTTON}, {"Preset", "preset", 0, float(std::size(PRESETS) - 1), 1, LIST},
    {"Mode", "mode", 0, float(std::size(MODES) - 1), 0, LIST},
    {"Temperature", "temperature", 0.25f, 2, 1, kParameterIsAutomatable},
    {"Density", "density", -0.5f, 0.5f, 0, kParameterIsAutomatable},
    {"Key", "key", 0, float(std::size(KEYS) - 1), 0, LIST}, {"Seed", "seed", 0, 999, 0, LIST},
    {"Part 1 mute", "mute_1", 0, 1, 0, BUTTON}, {"Part 2 mute", "mute_2", 0, 1, 0, BUTTON},
    {"Part 3 mute", "mute_3", 0, 1, 0, BUTTON}, {"Part 4 mute", "mute_4", 0, 1, 0, BUTTON},
    {"Answer now", "play", 0, 1, 0, BUTTON}, {"Take next", "take_next", 0, 1, 0, BUTTON},
    {"Take keep", "take_keep", 0, 1, 0, BUTTON}, {"Take undo", "take_undo", 0, 1, 0, BUTTON},
    {"Panic", "panic", 0, 1, 0, BUTTON},
    {"Engine", "engine", 0, 1, 0, kParameterIsOutput | kParameterIsInteger},
    {"Missed blocks", "missed", 0, 1e6f, 0, kParameterIsOutput | kParameterIsInteger},
    {"Freewheel", "freewheel", 0, 1, 0, kParameterIsBoolean | kParameterIsInteger}};
constexpr double LATE = 0.06, STILL = 0.5;  // seconds: a note is too late, the engine stands still

class BandPlugin : public EnginePlugin<P_ENGINE> {
  std::string session = "{}";
  int version = 1, version_told = 0;  // of the session: one that the host loads is newer than what the engine has
  bool plays = false, ending = false, behind = true;
  double ahead = 0, tempo = 120, beat = 0;  // beat: quarter notes at the block's begin, counted without jumps
  int upper = 4, lower = 4, seen_lost = 0;
  int64_t seen_skipped = 0;              // deadlines of the engine's at which rules had to play
  uint32_t turn = 0, frame = 0;          // frame: of the last message of the block
  float told[P_ENGINE] = {};
  uint8_t owner[16][128] = {};           // of each key that sounds: number of its part + 1
  bool pedal[16] = {};
  Link link;

 public:
  BandPlugin()
      : link([this] { return hello(); }, [this](const std::string& line) { heard(line); }) {
    for (uint32_t i = 0; i < P_ALL; ++i) values[i] = KNOBS[i].normal;
  }

 protected:
  const char* getLabel() const override { return "genaudio_band"; }
  const char* getDescription() const override { return "A band that hears what you play and plays with you."; }
  int64_t getUniqueId() const override { return d_cconst('g', 'A', 'b', 'd'); }

  void initAudioPort(bool input, uint32_t index, AudioPort& port) override {
    port.groupId = kPortGroupStereo;
    Plugin::initAudioPort(input, index, port);
  }

  template <size_t N>
  static void list(Parameter& p, const char* const (&names)[N]) {
    p.enumValues.count = N, p.enumValues.restrictedMode = true;
    p.enumValues.values = new ParameterEnumerationValue[N];
    for (size_t i = 0; i < N; ++i) p.enumValues.values[i].label = names[i], p.enumValues.values[i].value = float(i);
  }

  void initParameter(uint32_t index, Parameter& p) override {
    if (index == P_BYPASS) return p.initDesignation(kParameterDesignationBypass);
    const Knob& knob = KNOBS[index];
    p.name = knob.name, p.symbol = knob.symbol, p.hints = knob.hints;
    p.ranges = ParameterRanges(knob.normal, knob.low, knob.high);
    if (index == P_PRESET) list(p, PRESETS);
    if (index == P_MODE) list(p, MODES);
    if (index == P_KEY) list(p, KEYS);
    if (index == P_TEMPERATURE) p.unit = "x";
  }

  bool is_ready() const override { return link.ready; }

  // --- state: one text, which the engine writes and reads (bridge/daw/band_state.py)

  String getState(const char*) const override {
    auto* self = const_cast<BandPlugin*>(this);
    std::lock_guard<std::mutex> lock(self->words);
    return String(session.c_str());
  }

  void take_session(const char* text) override {
    std::lock_guard<std::mutex> lock(words);
    session = text, ++version;
    if (link.ready) say_session();
  }

  void say_session() {
    version_told = version;
    link.send("{\"version\": " + std::to_string(version) + ", \"session\": " + json_quoted(session) + "}");
  }

  template <size_t N>
  static std::string names(const char* const (&all)[N]) {
    std::string out = "[";
    for (size_t i = 0; i < N; ++i) out += (i ? ", " : "") + json_quoted(all[i]);
    return out + "]";
  }

  std::string hello() {
    std::lock_guard<std::mutex> lock(words);
    version_told = version;
    std::string out = "{\"genaudio\": \"band\", \"protocol\": " + std::to_string(PROTOCOL) + ", \"version\": " +
                      std::to_string(version) + ", \"session\": " + json_quoted(session) + ", \"presets\": " + names(PRESETS) + ", \"modes\": " + names(MODES) +
                      ", \"keys\": " + names(KEYS) + ", \"values\": [";
    for (uint32_t i = 0; i < P_ENGINE; ++i)  // in thousandths: a host may have set a decimal comma
      out += (i ? ", " : "") + std::to_string(std::lround(1000 * values[i].load())) + "e-3";
    return out + "]}";
  }

  void heard(const std::string& line) {  // in the link's thread
    const std::string text = json_text(line, "session");
    std::lock_guard<std::mutex> lock(words);
    if (!text.empty() && int(json_number(line, "version")) == version) session = text;
    if (json_text(line, "state") == "ready" && version_told != version) say_session();
  }

  // --- switching on

  void activate() override {
    const double wanted = std::max(0.1 * getSampleRate(), 2.0 * getBufferSize() + 0.06 * getSampleRate());
    if (!meeting.is_open() || rate != getSampleRate() || ahead != wanted) {
      link.close(), meeting.close();
      rate = getSampleRate(), ahead = wanted, position = seen_skipped = 0;
      if (!meeting.open(0, 0, rate, uint32_t(ahead))) d_stderr("genaudio: no shared memory: no notes.");
      else link.open(meeting.descriptor);
    }
    playhead = Playhead();
    pace.begin();
    plays = gave_up = false, behind = ending = true;
    if (offline && meeting.is_open()) link.wait(20.0);  // a host that renders may wait here, and nowhere else so long
  }

  // --- the process call

  bool write(uint8_t status, uint8_t one, uint8_t two) {
    const uint32_t size = (status & 0xE0) == 0xC0 ? 2 : 3;
    return writeMidiEvent(MidiEvent{frame, size, {status, one, two, 0}, nullptr});
  }

  // Ends what sounds, of one part or of all. What the host has no room for ends in the next block.
  void silence(int part = -1) {
    ending = false;
    for (uint8_t c = 0; c < 16; ++c) {
      for (uint8_t note = 0; note < 128; ++note)
        if (owner[c][note] && (part < 0 || owner[c][note] == part + 1)) {
          if (write(0x80 | c, note, 0)) owner[c][note] = 0;
          else ending = true;
        }
      if (part < 0 && pedal[c]) pedal[c] = !write(0xB0 | c, 64, 0), ending = ending || pedal[c];
    }
  }

  void tell(int32_t kind, int32_t index, double value, double more, uint32_t after = 0) {
    if (meeting.is_open() && !meeting.to_engine.push({position + after, kind, index, value, more})) behind = true;
  }

  void start(double place, bool afresh) {
    silence();
    beat = place, plays = true;
    tell(METER, upper | lower << 8 | int32_t(afresh) << 16, 0, 0);
    tell(START, int32_t(++turn), beat, tempo);
  }

  // Where the host is. Its tempo counts quarter notes, but in LV2, where it counts the beats of the meter.
  void follow(const TimePosition& time, uint32_t frames) {
    const auto& bbt = time.bbt;
    const int beats = bbt.valid ? int(bbt.beatsPerBar + 0.5f) : 4, unit = bbt.valid ? int(bbt.beatType + 0.5f) : 4;
    const bool another = beats != upper || unit != lower;
    if (beats > 0 && beats < 256 && unit > 0 && unit < 256) upper = beats, lower = unit;
    const double quarter = 4.0 / lower, bar = upper * quarter;
#ifdef GENAUDIO_LV2
    const double now_tempo = bbt.beatsPerMinute * quarter;
#else
    const double now_tempo = bbt.beatsPerMinute;
#endif
    const bool bends = now_tempo > 0 && now_tempo != tempo, knows_nothing = behind;
    if (bends) tempo = now_tempo;
    const bool moved = playhead.jumped(time.playing, int64_t(time.frame), frames);
    behind = false;
    if (!time.playing) {
      if (plays || knows_nothing) silence(), tell(STOP, int32_t(++turn), 0, 0);
      plays = false;
      return;
    }
    double place = bbt.valid ? (bbt.beat - 1 + bbt.tick / bbt.ticksPerBeat) * quarter : plays ? beat : 0.0;
    double off = std::remainder(place - beat, bar);  // by how much the place in the bar is another than expected
    // Ardour tells the place in whole ticks, which is not good enough: what agrees with it is taken.
    const double tick = 1.1 / 1920, quarters = double(int64_t(time.frame)) * tempo / 60 / rate;  // less than 0: it rolls in
    const double counted = quarters - std::floor(quarters / bar) * bar;
#ifdef GENAUDIO_LV2  // whose place has not the digits to tell
    const bool whole = true;
#else
    const bool whole = std::fabs(std::remainder(place * 1920, 1.0)) < 1e-5;
#endif
    if (whole && std::fabs(off) < tick) off = 0;
    if (whole && std::fabs(std::remainder(counted - place, bar)) < tick) place = counted;
    const bool elsewhere = std::fabs(off) > 0.02 + frames * tempo / 60 / rate;
    if (!plays || knows_nothing || another || elsewhere) return start(place, !plays && offline);
    if (moved) silence();  // a loop over whole bars
    beat += off;
    if (bends || std::fabs(off) > 1e-6) tell(TEMPO, 0, beat, tempo);
  }

  void tell_values(bool all) {
    for (uint32_t i = 0; i < P_ENGINE; ++i) {
      const float now = value(i);
      if (now == told[i] && !all) continue;
      const bool rises = now > 0.5f && told[i] <= 0.5f;
      if (rises && (i == P_BYPASS || i == P_PANIC)) silence();
      if (rises && i >= P_MUTE && i < P_PLAY) silence(int(i - P_MUTE));
      told[i] = now;
      tell(VALUE, int32_t(i), now, 0);
    }
  }

  // Plays a message; whether the host had room for it.
  bool play(const Event& event, double late) {
    const uint8_t status = uint8_t(event.index), one = uint8_t(event.index >> 8) & 127, two = uint8_t(event.index >> 16) & 127;
    const uint8_t part = uint8_t(event.index >> 24) & 127, c = status & 15, kind = status & 0xF0;
    if (kind == 0x80 || (kind == 0x90 && !two)) {
      if (!owner[c][one]) return true;
      if (!write(0x80 | c, one, 0)) return false;
      owner[c][one] = 0;
      return true;
    }
    if (on(P_BYPASS) || (part < P_PLAY - P_MUTE && on(P_MUTE + part)) || kind < 0x80 || kind == 0xF0) return true;
    if (kind == 0x90) {
      if (late > LATE * rate) return true;
      if (owner[c][one] && !write(0x80 | c, one, 0)) return false;
      owner[c][one] = 0;
    }
    if (!write(status, one, two)) return false;
    if (kind == 0x90) owner[c][one] = part + 1;
    if (kind == 0xB0 && one == 64) pedal[c] = two > 0;
    return true;
  }

  void run(const float**, float** outputs, uint32_t frames, const MidiEvent* events, uint32_t count) override {
    for (uint32_t c = 0; c < 2; ++c) std::memset(outputs[c], 0, frames * sizeof(float));
    frame = 0;
    const int lost = link.lost.load(std::memory_order_relaxed);
    if (lost != seen_lost) seen_lost = lost, behind = ending = true;  // another engine comes, which knows nothing
    if (ending) silence();
    const bool all = behind;
    follow(getTimePosition(), frames);
    tell_values(all);
    if (meeting.is_open()) converse(frames, events, count);
    position += frames;
    beat += plays ? frames * tempo / 60 / rate : 0;
  }

  void converse(uint32_t frames, const MidiEvent* events, uint32_t count) {
    for (uint32_t i = 0; i < count && !behind; ++i)
      if (const MidiEvent& e = events[i]; e.size && e.size <= 3)
        tell(MIDI, int32_t(e.data[0] | uint32_t(e.data[1]) << 8 | uint32_t(e.data[2]) << 16 | e.size << 24), 0, 0, std::min(e.frame, frames - 1));
    for (uint32_t done = 0; done < frames; done += CAPACITY) meeting.in.write(nullptr, std::min(frames - done, CAPACITY));
    if (waits(frames) && !wait_for(meeting, link, pace, position + frames, gave_up))
      d_stderr("genaudio: the engine did not answer while rendering: without notes from here.");
    const double has = double(meeting.out.end() - position) + ahead;  // frames for which all notes are there
    if (plays && has < frames) count_missed();
    const int64_t skipped = meeting.word(W_SKIPPED).load(std::memory_order_relaxed);
    count_missed(skipped - seen_skipped), seen_skipped = skipped;
    if (has < ahead - STILL * rate) silence();
    const double per_beat = 60 * rate / tempo;
    while (const Event* next = meeting.from_engine.peek()) {
      const Event event = *next;
      if (uint32_t(event.more) == turn) {
        const double at = plays ? std::round((event.value - beat) * per_beat) : 0;
        if (at >= frames) break;
        frame = std::max(frame, uint32_t(std::max(at, 0.0)));
        if (!play(event, -at)) break;
      }
      meeting.from_engine.pop();
    }
  }
};

Plugin* createPlugin() { return new BandPlugin(); }
END_NAMESPACE_DISTRHO
