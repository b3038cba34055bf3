// A small CLAP host for the tests, driven by lines on its standard input; each is answered by one line.
//
//   create FILE | activate RATE MAX | deactivate | destroy | render 0|1 | latency | parameters | get ID | set ID VALUE
//   texts ID (what the whole values of a parameter are called) | ticks 0|1 (the place is told in whole ticks, as Ardour does)
//   input FILE (float32, both channels one after the other) | rewind | play 0|1 | seek FRAME | tempo BPM NUM DEN
//   loop FROM TO (frames of the song; 0 0: none) | midi FRAME B0 B1 B2 (of the song, while it plays) | run FRAMES BLOCK[,BLOCK...] PACE (0: at once, 1: as a sound card) | trap FRAMES BLOCK
//   steady (frames so far) | cost FRAMES BLOCK | restarts (that were asked for) | output FILE (all channels, since the last time) | notes (FRAME so far, bytes) | save FILE | load FILE | quit
//
// `trap` runs blocks in a thread in which every system call is refused and counted, and so is every allocation and lock.
#include "clap/entry.h"
#include "clap/ext/audio-ports.h"
#include "clap/ext/latency.h"
#include "clap/ext/params.h"
#include "clap/ext/state.h"
#include "clap/plugin-factory.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// --- traps

static thread_local bool trapped = false;
static std::atomic<int> allocations{0}, locks{0}, calls{0}, last_call{-1};
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void __libc_free(void*);
void* malloc(size_t n) { return allocations += trapped, __libc_malloc(n); }
void* calloc(size_t n, size_t m) { return allocations += trapped, __libc_calloc(n, m); }
void* realloc(void* p, size_t n) { return allocations += trapped, __libc_realloc(p, n); }
void free(void* p) { allocations += trapped && p, __libc_free(p); }
int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static const auto real = reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  return locks += trapped, real(mutex);
}
}
static void on_call(int, siginfo_t* info, void*) { ++calls, last_call = info->si_syscall; }

static bool refuse_calls() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_rt_sigreturn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  sock_fprog program{sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// --- the host

static double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

struct Note {
  int64_t frame;
  uint8_t data[3];
};
static void* library = nullptr;
static const clap_plugin_entry_t* entry = nullptr;
static const clap_plugin_t* plugin = nullptr;
static std::vector<uint32_t> in_channels, out_channels;
static std::vector<float> input;                 // both channels
static std::vector<std::vector<float>> output;   // one for each channel
static size_t at = 0, written = 0;
static int64_t song = 0, steady = 0;
static bool playing = false;
static int64_t loop_from = 0, loop_to = 0;
static double quarters = 0;  // of the song
static bool whole_ticks = false;
static double rate = 48000, tempo = 120;
static int beats = 4, beat_type = 4;
static uint32_t largest = 512;
static std::vector<clap_event_param_value_t> waiting;
static std::vector<Note> to_play, played;
static std::vector<const clap_event_header_t*> events;
static std::vector<clap_event_midi_t> midi;
struct Took {
  double block, yardstick;
};
static std::vector<Took> took;  // seconds of the clock for each block, and for a fixed piece of arithmetic after it
static bool keeps = true;        // what comes out

static uint32_t events_size(const clap_input_events_t*) { return uint32_t(events.size()); }
static const clap_event_header_t* events_get(const clap_input_events_t*, uint32_t i) { return events[i]; }
static bool events_push(const clap_output_events_t*, const clap_event_header_t* event) {
  if (event->type == CLAP_EVENT_MIDI && played.size() < played.capacity()) {
    const auto* one = reinterpret_cast<const clap_event_midi_t*>(event);
    played.push_back({steady + event->time, {one->data[0], one->data[1], one->data[2]}});
  }
  return true;
}
static const clap_input_events_t in_events = {nullptr, events_size, events_get};
static const clap_output_events_t out_events = {nullptr, events_push};

static void block(uint32_t n) {
  static std::vector<float*> ins(32), outs(64);
  static std::vector<clap_audio_buffer_t> in_buffers(8), out_buffers(16);
  static std::vector<float> silence(1 << 16);
  const size_t length = input.size() / 2;
  size_t c = 0, b = 0;
  for (uint32_t count : in_channels) {
    in_buffers[b] = {&ins[c], nullptr, count, 0, 0};
    for (uint32_t i = 0; i < count; ++i, ++c)
      ins[c] = at + n <= length ? &input[c * length + at] : silence.data();
    ++b;
  }
  c = b = 0;
  for (uint32_t count : out_channels) {
    out_buffers[b] = {&outs[c], nullptr, count, 0, 0};
    for (uint32_t i = 0; i < count; ++i, ++c) outs[c] = &output[c][written];
    ++b;
  }
  clap_event_transport_t transport{};
  transport.header = {sizeof transport, 0, 0, CLAP_EVENT_TRANSPORT, 0};
  transport.flags = CLAP_TRANSPORT_HAS_TEMPO | CLAP_TRANSPORT_HAS_BEATS_TIMELINE | CLAP_TRANSPORT_HAS_SECONDS_TIMELINE |
                    CLAP_TRANSPORT_HAS_TIME_SIGNATURE | (playing ? CLAP_TRANSPORT_IS_PLAYING : 0u);
  transport.tempo = tempo, transport.tsig_num = uint16_t(beats), transport.tsig_denom = uint16_t(beat_type);
  transport.song_pos_seconds = clap_sectime(std::llround(double(song) / rate * CLAP_SECTIME_FACTOR));
  const double bar = beats * 4.0 / beat_type, number = std::floor(quarters / bar + 1e-9);
  const double place = whole_ticks ? std::floor(quarters * 1920 + 1e-6) / 1920 : quarters;
  transport.song_pos_beats = clap_beattime(std::llround(place * CLAP_BEATTIME_FACTOR));
  transport.bar_start = clap_beattime(std::llround(number * bar * CLAP_BEATTIME_FACTOR)), transport.bar_number = int32_t(number);
  events.clear(), midi.clear();
  for (auto& one : waiting) events.push_back(&one.header);
  for (const Note& note : to_play)
    if (playing && note.frame >= song && note.frame < song + n && midi.size() < midi.capacity()) {
      midi.push_back({{sizeof(clap_event_midi_t), uint32_t(note.frame - song), 0, CLAP_EVENT_MIDI, 0}, 0, {note.data[0], note.data[1], note.data[2]}});
      events.push_back(&midi.back().header);
    }
  const clap_process_t process = {steady, n, &transport, in_buffers.data(), out_buffers.data(), uint32_t(in_channels.size()), uint32_t(out_channels.size()), &in_events, &out_events};
  const double began = now();
  plugin->process(plugin, &process);
  if (!keeps && took.size() < took.capacity()) {
    const double took_block = now() - began, then = now();
    static volatile float some[1024];
    for (int i = 0; i < 4096; ++i) some[i & 1023] = some[i & 1023] * 0.5f + 1;
    took.push_back({took_block, now() - then});
  }
  waiting.clear();
  at += n, steady += n;
  if (keeps) written += n;
  if (playing) song += n, quarters += n / rate * tempo / 60;
  if (playing && song == loop_to) song = loop_from, quarters = double(song) / rate * tempo / 60;
}

static void room_for(size_t frames) {
  for (auto& channel : output) channel.resize(written + (keeps ? frames : largest));
  took.reserve(frames + 16), events.reserve(1024), midi.reserve(512), played.reserve(1 << 16);
}

static void run(size_t frames, const std::vector<uint32_t>& blocks, double pace) {
  room_for(frames);
  const double began = now();
  for (size_t done = 0, i = 0; done < frames; ++i) {
    uint32_t n = uint32_t(std::min<size_t>(blocks[i % blocks.size()], frames - done));
    if (playing && song < loop_to) n = uint32_t(std::min<int64_t>(n, loop_to - song));
    if (pace > 0)
      for (double left; (left = began + double(done) / rate / pace - now()) > 0;) {
        timespec nap{time_t(left), long((left - double(time_t(left))) * 1e9)};
        nanosleep(&nap, nullptr);
      }
    block(n);
    done += n;
  }
}

static const clap_host_params_t host_params = {
    [](const clap_host_t*, clap_param_rescan_flags) {}, [](const clap_host_t*, clap_id, clap_param_clear_flags) {},
    [](const clap_host_t*) {}};
static const void* host_extension(const clap_host_t*, const char* name) {
  return std::strcmp(name, CLAP_EXT_PARAMS) == 0 ? &host_params : nullptr;
}
static void nothing(const clap_host_t*) {}
static std::atomic<int> restarts{0};
static void restart(const clap_host_t*) { ++restarts; }
static const clap_host_t host = {CLAP_VERSION, nullptr, "test", "genaudio", "", "1", host_extension, restart, nothing, nothing};

template <class T>
static const T* extension(const char* name) {
  return static_cast<const T*>(plugin->get_extension(plugin, name));
}

static std::string create(const std::string& path) {
  library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return dlerror();
  entry = static_cast<const clap_plugin_entry_t*>(dlsym(library, "clap_entry"));
  entry->init(path.c_str());
  const auto* factory = static_cast<const clap_plugin_factory_t*>(entry->get_factory(CLAP_PLUGIN_FACTORY_ID));
  const auto* description = factory->get_plugin_descriptor(factory, 0);
  plugin = factory->create_plugin(factory, &host, description->id);
  if (!plugin || !plugin->init(plugin)) return "no plug-in";
  in_channels.clear(), out_channels.clear();
  uint32_t total = 0;
  if (const auto* ports = extension<clap_plugin_audio_ports_t>(CLAP_EXT_AUDIO_PORTS))
    for (bool in : {true, false})
      for (uint32_t i = 0; i < ports->count(plugin, in); ++i) {
        clap_audio_port_info_t info;
        ports->get(plugin, i, in, &info);
        (in ? in_channels : out_channels).push_back(info.channel_count);
        if (!in) total += info.channel_count;
      }
  output.assign(total, {});
  written = 0;
  return std::string(description->id) + " " + std::to_string(out_channels.size());
}

static std::string obey(const std::string& word, std::istringstream& rest) {
  std::string path;
  if (word == "create") return rest >> path, create(path);
  if (word == "activate") return rest >> rate >> largest, plugin->activate(plugin, rate, 1, largest) && plugin->start_processing(plugin) ? "ok" : "no";
  if (word == "deactivate") return plugin->stop_processing(plugin), plugin->deactivate(plugin), "ok";
  if (word == "destroy") return plugin->destroy(plugin), entry->deinit(), dlclose(library), "ok";
  if (word == "latency") return std::to_string(extension<clap_plugin_latency_t>(CLAP_EXT_LATENCY)->get(plugin));
  if (word == "play") return rest >> playing, "ok";
  if (word == "seek") return rest >> song, quarters = double(song) / rate * tempo / 60, "ok";
  if (word == "ticks") return rest >> whole_ticks, "ok";
  if (word == "loop") return rest >> loop_from >> loop_to, "ok";
  if (word == "steady") return std::to_string(steady);
  if (word == "tempo") return rest >> tempo >> beats >> beat_type, "ok";
  if (word == "restarts") return std::to_string(restarts);
  if (word == "rewind") return at = 0, "ok";
  if (word == "render") {
    struct Render { bool (*hard)(const clap_plugin_t*); bool (*set)(const clap_plugin_t*, int32_t); };
    const auto* render = extension<Render>("clap.render");
    int mode;
    rest >> mode;
    return render && render->set(plugin, mode) ? "ok" : "no";
  }
  if (word == "parameters") {
    const auto* params = extension<clap_plugin_params_t>(CLAP_EXT_PARAMS);
    std::string all;
    for (uint32_t i = 0; i < params->count(plugin); ++i) {
      clap_param_info_t info;
      params->get_info(plugin, i, &info);
      all += std::to_string(info.id) + "=" + info.name + ";";
    }
    return all;
  }
  if (word == "get") {
    clap_id id;
    double value = NAN;
    rest >> id;
    extension<clap_plugin_params_t>(CLAP_EXT_PARAMS)->get_value(plugin, id, &value);
    return std::to_string(value);
  }
  if (word == "texts") {
    const auto* params = extension<clap_plugin_params_t>(CLAP_EXT_PARAMS);
    clap_id id;
    rest >> id;
    std::string all;
    for (uint32_t i = 0; i < params->count(plugin); ++i) {
      clap_param_info_t info;
      char text[256] = "";
      if (!params->get_info(plugin, i, &info) || info.id != id) continue;
      for (double value = info.min_value; value <= info.max_value; ++value)
        if (params->value_to_text(plugin, id, value, text, sizeof text)) all += std::string(text) + ";";
    }
    return all;
  }
  if (word == "set") {  // with the next block
    clap_event_param_value_t event{};
    rest >> event.param_id >> event.value;
    event.header = {sizeof event, 0, CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_PARAM_VALUE, 0};
    event.note_id = event.port_index = event.channel = event.key = -1;
    return waiting.push_back(event), "ok";
  }
  if (word == "midi") {
    Note note;
    int bytes[3];
    rest >> note.frame >> bytes[0] >> bytes[1] >> bytes[2];
    for (int i = 0; i < 3; ++i) note.data[i] = uint8_t(bytes[i]);
    return to_play.push_back(note), "ok";
  }
  if (word == "notes") {
    std::string all;
    for (const Note& note : played)
      all += std::to_string(note.frame) + " " + std::to_string(note.data[0]) + " " + std::to_string(note.data[1]) + " " + std::to_string(note.data[2]) + ";";
    return played.clear(), all;
  }
  if (word == "input") {
    rest >> path;
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    input.resize(size_t(file.tellg()) / sizeof(float));
    file.seekg(0).read(reinterpret_cast<char*>(input.data()), std::streamsize(input.size() * sizeof(float)));
    return at = 0, std::to_string(input.size() / 2);
  }
  if (word == "output") {
    rest >> path;
    std::ofstream file(path, std::ios::binary);
    for (auto& channel : output) file.write(reinterpret_cast<char*>(channel.data()), std::streamsize(written * sizeof(float)));
    const size_t n = written;
    for (auto& channel : output) channel.clear();
    return written = 0, std::to_string(n);
  }
  if (word == "run" || word == "trap" || word == "cost") {
    size_t frames;
    std::string sizes, size;
    double pace = 0;
    rest >> frames >> sizes >> pace;
    std::vector<uint32_t> blocks;
    for (std::istringstream parts(sizes); std::getline(parts, size, ',');) blocks.push_back(uint32_t(std::stoul(size)));
    took.clear();
    if (word == "run") return run(frames, blocks, pace), "ok";
    if (word == "cost") {  // as in a DAW: first in line, where the system lets it, and in the same buffers each time
      const sched_param first{60}, last{0};
      sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);
      keeps = false;
      run(frames, blocks, 1);
      keeps = true;
      sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &last);
      // Microseconds: median, 99 of 100, worst, and 99 of 100 where the yardstick was not slow; the share of those.
      const auto share = [](std::vector<double> all, double s) {
        if (all.empty()) return std::string("nan");
        std::sort(all.begin(), all.end());
        return std::to_string(1e6 * all[size_t(s * double(all.size() - 1))]);
      };
      std::vector<double> blocks_took, yardsticks, at_speed;  // a virtual machine's processor stalls now and then
      for (const Took& one : took) blocks_took.push_back(one.block), yardsticks.push_back(one.yardstick);
      const double usual = std::stod(share(yardsticks, 0.5)) / 1e6;
      for (const Took& one : took)
        if (one.yardstick < 1.5 * usual) at_speed.push_back(one.block);
      return share(blocks_took, 0.5) + " " + share(blocks_took, 0.99) + " " + share(blocks_took, 1.0) + " " +
             share(at_speed, 0.99) + " " + std::to_string(double(at_speed.size()) / double(took.size()));
    }
    room_for(frames);
    struct sigaction action{};
    action.sa_sigaction = on_call, action.sa_flags = SA_SIGINFO;
    sigaction(SIGSYS, &action, nullptr);
    static std::atomic<int> state{0};
    std::thread([&] {
      if (!refuse_calls()) { state = 2; return; }
      trapped = true;
      for (size_t done = 0, i = 0; done < frames; ++i) {
        const uint32_t n = uint32_t(std::min<size_t>(blocks[i % blocks.size()], frames - done));
        block(n);
        done += n;
        for (const double until = now() + n / rate; now() < until;) {}
      }
      trapped = false;
      state = 1;
      for (;;) {}  // not even to end is allowed
    }).detach();
    while (state == 0) usleep(1000);
    if (state == 2) return "no traps";
    return std::to_string(calls) + " " + std::to_string(last_call) + " " + std::to_string(allocations) + " " + std::to_string(locks);
  }
  if (word == "save" || word == "load") {
    rest >> path;
    const auto* state = extension<clap_plugin_state_t>(CLAP_EXT_STATE);
    if (word == "save") {
      std::ofstream file(path, std::ios::binary);
      const clap_ostream_t stream = {&file, [](const clap_ostream_t* s, const void* data, uint64_t n) -> int64_t {
        static_cast<std::ofstream*>(s->ctx)->write(static_cast<const char*>(data), std::streamsize(n));
        return int64_t(n);
      }};
      return state->save(plugin, &stream) ? "ok" : "no";
    }
    std::ifstream file(path, std::ios::binary);
    const clap_istream_t stream = {&file, [](const clap_istream_t* s, void* data, uint64_t n) -> int64_t {
      auto* from = static_cast<std::ifstream*>(s->ctx);
      from->read(static_cast<char*>(data), std::streamsize(n));
      return from->gcount();
    }};
    return state->load(plugin, &stream) ? "ok" : "no";
  }
  return "?";
}

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream rest(line);
    std::string word;
    rest >> word;
    if (word == "quit") break;
    std::cout << obey(word, rest) << std::endl;
  }
  fflush(stdout);
  _exit(0);
}
