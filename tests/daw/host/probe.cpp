// An LV2 effect for the tests that writes down all that reaches it, block by block: the place in the song, notes with
// their frames, sound. GENAUDIO_PROBE names the file; without it, and in a second instance, the sound only passes through.
//
//   file: int64 bytes that are written so far, itself included; then for each block
//   int64 frames, place in the song, whether it plays, number of messages | int32 frame, 4 bytes: each message
//   | float32: the left channel, the right one
//
// Two plug-ins: urn:genaudio:probe:notes takes MIDI, urn:genaudio:probe:sound does not.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lv2/atom/atom.h>
#include <lv2/atom/util.h>
#include <lv2/core/lv2.h>
#include <lv2/midi/midi.h>
#include <lv2/time/time.h>
#include <lv2/urid/urid.h>

constexpr int64_t SIZE = int64_t(1) << 28;

struct Probe {
  const LV2_Atom_Sequence* events = nullptr;
  const float* in[2] = {};
  float* out[2] = {};
  char* file = nullptr;
  int64_t place = 0, plays = 0;
  LV2_URID midi, position, frame, speed, object, blank, a_long, a_float;

  explicit Probe(const LV2_URID_Map* map) {
    const auto id = [map](const char* name) { return map->map(map->handle, name); };
    midi = id(LV2_MIDI__MidiEvent), position = id(LV2_TIME__Position), frame = id(LV2_TIME__frame), speed = id(LV2_TIME__speed);
    object = id(LV2_ATOM__Object), blank = id(LV2_ATOM__Blank), a_long = id(LV2_ATOM__Long), a_float = id(LV2_ATOM__Float);
    const char* name = getenv("GENAUDIO_PROBE");
    const int descriptor = name && *name ? open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (descriptor < 0) return;
    if (ftruncate(descriptor, SIZE) == 0) {
      void* at = mmap(nullptr, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
      if (at != MAP_FAILED) file = static_cast<char*>(at), written() = 8;
    }
    close(descriptor);
  }
  ~Probe() {
    if (file) munmap(file, SIZE);
  }

  std::atomic<int64_t>& written() { return *reinterpret_cast<std::atomic<int64_t>*>(file); }

  void follow(const LV2_Atom_Object* told) {
    const LV2_Atom *at = nullptr, *how = nullptr;
    lv2_atom_object_get(told, frame, &at, speed, &how, 0);
    if (at && at->type == a_long) place = reinterpret_cast<const LV2_Atom_Long*>(at)->body;
    if (how && how->type == a_float) plays = reinterpret_cast<const LV2_Atom_Float*>(how)->body != 0;
  }

  void run(uint32_t n) {
    for (int c = 0; c < 2; ++c)
      if (in[c] != out[c]) std::memcpy(out[c], in[c], n * sizeof(float));
    const int64_t begin = file ? written().load() : 0;
    const bool fits = file && begin + 32 + 8 * int64_t(n) + (events ? int64_t(events->atom.size) : 0) < SIZE;
    char* to = file + begin + 32;
    int64_t messages = 0;
    LV2_ATOM_SEQUENCE_FOREACH(events, event) {
      if (event->body.type == object || event->body.type == blank) {
        const auto* told = reinterpret_cast<const LV2_Atom_Object*>(&event->body);
        if (told->body.otype == position) follow(told);
      } else if (event->body.type == midi && fits) {
        const int32_t when = int32_t(event->time.frames);
        std::memset(to, 0, 8);
        std::memcpy(to, &when, 4);
        std::memcpy(to + 4, &event->body + 1, event->body.size < 4 ? event->body.size : 4);
        to += 8, ++messages;
      }
    }
    if (fits) {
      const int64_t head[4] = {n, place, plays, messages};
      std::memcpy(file + begin, head, sizeof head);
      for (const float* channel : in) std::memcpy(to, channel, n * sizeof(float)), to += n * sizeof(float);
      written().store(to - file, std::memory_order_release);
    }
    if (plays) place += n;
  }
};

static LV2_Handle make(const LV2_Descriptor*, double, const char*, const LV2_Feature* const* features) {
  for (; *features; ++features)
    if (!std::strcmp((*features)->URI, LV2_URID__map)) return new Probe(static_cast<const LV2_URID_Map*>((*features)->data));
  return nullptr;
}
static void connect(LV2_Handle handle, uint32_t port, void* data) {
  auto* probe = static_cast<Probe*>(handle);
  if (port == 0) probe->events = static_cast<const LV2_Atom_Sequence*>(data);
  else if (port < 3) probe->in[port - 1] = static_cast<const float*>(data);
  else probe->out[port - 3] = static_cast<float*>(data);
}
static void run(LV2_Handle handle, uint32_t n) { static_cast<Probe*>(handle)->run(n); }
static void end(LV2_Handle handle) { delete static_cast<Probe*>(handle); }

static const LV2_Descriptor notes = {"urn:genaudio:probe:notes", make, connect, nullptr, run, nullptr, end, nullptr};
static const LV2_Descriptor sound = {"urn:genaudio:probe:sound", make, connect, nullptr, run, nullptr, end, nullptr};
extern "C" __attribute__((visibility("default"))) const LV2_Descriptor* lv2_descriptor(uint32_t i) {
  return i == 0 ? &notes : i == 1 ? &sound : nullptr;
}
