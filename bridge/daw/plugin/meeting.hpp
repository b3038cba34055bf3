// What plug-in and engine share: rings of sound by position and a queue of events, in memory without a name.
//
// The plug-in makes it and hands its descriptor over the socket, so nothing is left of it whoever is killed. The layout
// is that of bridge/daw/meeting_place.py, word for word; `LAYOUT` changes with it. A ring is a `Ring` of
// bridge/audio/shared_ring.py: one writer, any reader, no lock; first the header gives up what is overwritten, then the
// samples are written, then they are announced.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace genaudio {

constexpr int64_t MAGIC = 0x4f49445541454731;  // "1GEAUDIO"
constexpr int64_t LAYOUT = 1;
constexpr uint32_t CAPACITY = 1u << 16;  // samples of a ring, a power of two
constexpr uint32_t EVENTS = 1u << 12;    // of a queue, a power of two
constexpr uint32_t RING_WORDS = 8, HEADER_WORDS = 64;
static_assert(std::atomic<int64_t>::is_always_lock_free, "words of 8 bytes must need no lock");

using Word = std::atomic<int64_t>;

// Words of the header. The plug-in writes those before STATE, the engine the others.
enum : uint32_t { W_MAGIC, W_LAYOUT, W_BYTES, W_RATE, W_IN, W_OUT, W_LATENCY, W_OFFLINE, W_VALUES = 16, W_MISSED = 32, W_STATE = 48, W_SKIPPED, W_ALIVE };
enum : int64_t { NONE = 0, READY = 1, FAILED = 2 };

struct Event {  // 32 bytes
  int64_t position;
  int32_t kind, index;
  double value, more;
};
enum : int32_t { SEGMENT = 1, VALUE, START, STOP, TEMPO, METER, MIDI };  // see bridge/daw/meeting_place.py

class Ring {
  Word* header = nullptr;
  float* samples = nullptr;
  uint32_t channels = 0;

 public:
  static size_t bytes(uint32_t channels) { return RING_WORDS * 8 + size_t(channels) * CAPACITY * 4; }

  void lay(char* at, uint32_t n) {
    header = reinterpret_cast<Word*>(at);
    samples = reinterpret_cast<float*>(at + RING_WORDS * 8);
    channels = n;
    header[2].store(CAPACITY, std::memory_order_relaxed);
    header[3].store(n, std::memory_order_relaxed);
  }

  int64_t begin() const { return header[0].load(std::memory_order_acquire); }
  int64_t end() const { return header[1].load(std::memory_order_acquire); }

  // For the writer: `n` samples that follow on, n <= CAPACITY.
  void write(const float* const* from, uint32_t n) {
    const int64_t position = header[1].load(std::memory_order_relaxed), oldest = position + n - int64_t(CAPACITY);
    if (oldest > header[0].load(std::memory_order_relaxed)) header[0].store(oldest, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);  // nobody sees the samples before the header
    const uint32_t at = uint32_t(position) & (CAPACITY - 1), first = n < CAPACITY - at ? n : CAPACITY - at;
    for (uint32_t c = 0; c < channels; ++c) {
      std::memcpy(samples + size_t(c) * CAPACITY + at, from[c], first * sizeof(float));
      std::memcpy(samples + size_t(c) * CAPACITY, from[c] + first, (n - first) * sizeof(float));
    }
    header[1].store(position + n, std::memory_order_release);
  }

  // For a reader: what is there of the `n` samples from `position` on, into out[c][offset...]. One run, [from, to).
  void read(float* const* out, int64_t position, uint32_t n, uint32_t& from, uint32_t& to) const {
    const int64_t last = end(), first = begin();
    int64_t a = first > position ? first : position, b = last < position + n ? last : position + n;
    from = to = 0;
    if (a >= b) return;
    for (uint32_t c = 0; c < channels; ++c)
      for (int64_t p = a; p < b;) {
        const uint32_t at = uint32_t(p) & (CAPACITY - 1);
        const int64_t run = b - p < int64_t(CAPACITY - at) ? b - p : int64_t(CAPACITY - at);
        std::memcpy(out[c] + (p - position), samples + size_t(c) * CAPACITY + at, size_t(run) * sizeof(float));
        p += run;
      }
    std::atomic_thread_fence(std::memory_order_acquire);
    const int64_t now = header[0].load(std::memory_order_relaxed);
    if (now > a) a = now;  // the writer overtook us
    if (a < b) from = uint32_t(a - position), to = uint32_t(b - position);
  }
};

class Queue {  // of events: one writer, one reader
  Word* header = nullptr;  // 0: written, 1: read
  Event* events = nullptr;

 public:
  static constexpr size_t bytes() { return RING_WORDS * 8 + EVENTS * sizeof(Event); }
  void lay(char* at) {
    header = reinterpret_cast<Word*>(at);
    events = reinterpret_cast<Event*>(at + RING_WORDS * 8);
    header[2].store(EVENTS, std::memory_order_relaxed);
  }
  bool push(const Event& event) {
    const int64_t at = header[0].load(std::memory_order_relaxed);
    if (at - header[1].load(std::memory_order_acquire) >= int64_t(EVENTS)) return false;
    events[at & (EVENTS - 1)] = event;
    header[0].store(at + 1, std::memory_order_release);
    return true;
  }
  const Event* peek() const {
    const int64_t at = header[1].load(std::memory_order_relaxed);
    return at < header[0].load(std::memory_order_acquire) ? &events[at & (EVENTS - 1)] : nullptr;
  }
  void pop() { header[1].store(header[1].load(std::memory_order_relaxed) + 1, std::memory_order_release); }
};

// The memory: header, ring in, ring out, queue in, queue out. Not for the process call to make or to let go.
class Meeting {
  char* memory = nullptr;
  size_t size = 0;

 public:
  int descriptor = -1;
  Ring in, out;
  Queue to_engine, from_engine;

  bool open(uint32_t n_in, uint32_t n_out, double rate, uint32_t latency) {
    close();
    size = HEADER_WORDS * 8 + Ring::bytes(n_in) + Ring::bytes(n_out) + 2 * Queue::bytes();
    char name[64];
    static std::atomic<unsigned> count{0};
    snprintf(name, sizeof name, "/genaudio-%d-%u", int(getpid()), count++);
    shm_unlink(name);
    descriptor = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) return false;
    shm_unlink(name);
    if (ftruncate(descriptor, off_t(size)) != 0) return close(), false;
    void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (at == MAP_FAILED) return close(), false;
    memory = static_cast<char*>(at);
    std::memset(memory, 0, size);  // every page is there before the first block
    char* part = memory + HEADER_WORDS * 8;
    in.lay(part, n_in), part += Ring::bytes(n_in);
    out.lay(part, n_out), part += Ring::bytes(n_out);
    to_engine.lay(part), part += Queue::bytes();
    from_engine.lay(part);
    word(W_LAYOUT) = LAYOUT, word(W_BYTES) = int64_t(size), word(W_RATE) = int64_t(rate + 0.5);
    word(W_IN) = n_in, word(W_OUT) = n_out, word(W_LATENCY) = latency;
    word(W_MAGIC).store(MAGIC, std::memory_order_release);
    return true;
  }
  bool is_open() const { return memory != nullptr; }
  Word& word(uint32_t i) { return reinterpret_cast<Word*>(memory)[i]; }
  void close() {
    if (memory) munmap(memory, size);
    if (descriptor >= 0) ::close(descriptor);
    memory = nullptr, descriptor = -1;
  }
  ~Meeting() { close(); }
};

}  // namespace genaudio
