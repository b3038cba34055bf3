// The plug-in's line to its engine: finds it, starts it, shakes hands, and finds it again. All in a thread of its own;
// the process call never comes near it.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "host_time.hpp"
#include "meeting.hpp"

namespace genaudio {

constexpr int PROTOCOL = 1;  // of discovery file and lines; `PROTOCOL` of bridge/daw/meeting_place.py

// The value of a key of a JSON object of one line that holds texts, numbers and lists of texts. Empty if there is none.
std::string json_text(const std::string& line, const std::string& key, const std::string& otherwise = "");
double json_number(const std::string& line, const std::string& key, double otherwise = 0);
std::string json_quoted(const std::string& text);

class Link {
 public:
  // `hello` gives the first line, `heard` takes a line (both called in the link's thread).
  Link(std::function<std::string()> hello, std::function<void(const std::string&)> heard);
  ~Link();
  void open(int descriptor);  // of the shared memory; a line that is open is closed first
  void close();               // let go of the engine and of the descriptor
  void send(const std::string& line);
  bool wait(double seconds);  // until the engine is ready or cannot be had; whether it is ready
  std::atomic<bool> refused{false};
  std::atomic<int> lost{0};  // times that a line was closed by the other side
  std::atomic<bool> ready{false};
  std::atomic<bool> starting{false};  // it is being looked for, loads, or learns words

 private:
  std::function<std::string()> hello;
  std::function<void(const std::string&)> heard;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> waiting;
  std::string last_told;
  std::thread thread;
  int wake[2] = {-1, -1};
  int memory = -1;
  bool quit = false;
  int connect_or_start();
  bool start_engine();  // false: none is recorded
  bool pause(double seconds);
  bool talk(int socket);
  void tell(const std::string& line);
  void run();
};

// For the process call of a host that renders: waits until the engine has written up to `position`, as long as it is
// seen to work, or two seconds, and twenty where it only starts. Whether it was there; after a failure nothing is
// waited for while no engine is ready.
inline bool wait_for(Meeting& meeting, Link& link, Pace& pace, int64_t position, bool& gave_up) {
  if (link.refused) return true;
  const double began = now(), patience = gave_up ? (link.ready ? 2 : 0) : link.starting ? 20 : 2;  // seconds
  const timespec nap{0, 50000};
  double seen = began;
  int64_t alive = meeting.word(W_ALIVE);
  while (meeting.out.end() < position && now() - seen < patience && now() - began < 20) {
    if (const int64_t sign = meeting.word(W_ALIVE); sign != alive) alive = sign, seen = now();
    nanosleep(&nap, nullptr);
  }
  pace.took(now() - began);
  const bool gave_up_before = gave_up;
  gave_up = meeting.out.end() < position;
  return !gave_up || gave_up_before;
}

}  // namespace genaudio
