#include "link.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace genaudio {

// --- lines of JSON

static size_t value_at(const std::string& line, const std::string& key) {
  const std::string quoted = "\"" + key + "\":";
  const size_t at = line.find(quoted);
  if (at == std::string::npos) return at;
  return line.find_first_not_of(' ', at + quoted.size());
}

std::string json_text(const std::string& line, const std::string& key, const std::string& otherwise) {
  size_t at = value_at(line, key);
  if (at == std::string::npos || line[at] != '"') return otherwise;
  std::string text;
  for (++at; at < line.size() && line[at] != '"'; ++at) {
    if (line[at] != '\\' || at + 1 >= line.size()) {
      text += line[at];
      continue;
    }
    const char c = line[++at];
    if (c == 'u' && at + 4 < line.size()) {
      const unsigned code = unsigned(strtoul(line.substr(at + 1, 4).c_str(), nullptr, 16));
      at += 4;  // written as UTF-8; the engine writes those above as they are
      if (code < 0x80) text += char(code);
      else if (code < 0x800) text += char(0xC0 | code >> 6), text += char(0x80 | (code & 0x3F));
      else text += char(0xE0 | code >> 12), text += char(0x80 | (code >> 6 & 0x3F)), text += char(0x80 | (code & 0x3F));
    } else
      text += c == 'n' ? '\n' : c == 't' ? '\t' : c;
  }
  return text;
}

double json_number(const std::string& line, const std::string& key, double otherwise) {
  const size_t at = value_at(line, key);
  if (at == std::string::npos) return otherwise;
  std::istringstream stream(line.substr(at, 40));
  stream.imbue(std::locale::classic());  // a host may have set a decimal comma
  double value;
  return stream >> value ? value : otherwise;
}

std::string json_quoted(const std::string& text) {
  std::string out = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') out += '\\', out += char(c);
    else if (c < 0x20) out += ' ';
    else out += char(c);
  }
  return out + "\"";
}

// --- places

static std::string from_environment(const char* name) {
  const char* value = getenv(name);
  return value && *value ? value : "";
}

// As `runtime_folder` of bridge/daw/meeting_place.py.
static std::string runtime_folder() {
  std::string folder = from_environment("GENAUDIO_RUNTIME");
  if (folder.empty() && !(folder = from_environment("XDG_RUNTIME_DIR")).empty()) folder += "/genaudio";
  if (folder.empty()) folder = "/tmp/genaudio-" + std::to_string(getuid());
  return folder;
}

// Nobody else may have put a socket there.
static bool is_ours(const std::string& folder) {
  struct stat info;
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return false;
  return lstat(folder.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == getuid() && !(info.st_mode & 022);
}

static std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// What `genaudio plugin install` recorded: the interpreter.
static std::string engine_record() {
  std::string path = from_environment("GENAUDIO_ENGINE");
  if (!path.empty()) return first_line(path);
  std::string home = from_environment("XDG_DATA_HOME");
  if (home.empty()) home = from_environment("HOME") + "/.local/share";
  return first_line(home + "/genaudio/engine.json");
}

// --- the line

Link::Link(std::function<std::string()> hello_, std::function<void(const std::string&)> heard_)
    : hello(std::move(hello_)), heard(std::move(heard_)) {}

Link::~Link() { close(); }

void Link::tell(const std::string& line) {
  if (line == last_told) return;
  last_told = line;
  fprintf(stderr, "genaudio: %s\n", line.c_str());
}

void Link::open(int descriptor) {
  close();
  if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) return;
  memory = dup(descriptor);
  fcntl(memory, F_SETFD, FD_CLOEXEC);
  quit = false;
  starting = true;
  thread = std::thread([this] { run(); });
}

void Link::close() {
  if (thread.joinable()) {
    {
      std::lock_guard<std::mutex> lock(mutex);
      quit = true;
    }
    changed.notify_all();
    if (write(wake[1], "q", 1) < 0) {}
    thread.join();
  }
  for (int* end : {&wake[0], &wake[1], &memory}) {
    if (*end >= 0) ::close(*end);
    *end = -1;
  }
  ready = refused = starting = false;
  waiting.clear();
}

void Link::send(const std::string& line) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (!ready) return;  // the first line says all
    waiting.push_back(line + "\n");
  }
  if (write(wake[1], "s", 1) < 0) {}
}

bool Link::wait(double seconds) {
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return (ready && !starting) || refused || quit; });
  return ready;
}

bool Link::pause(double seconds) {  // whether to go on
  std::unique_lock<std::mutex> lock(mutex);
  return !changed.wait_for(lock, std::chrono::duration<double>(seconds), [this] { return quit; });
}

static int connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return -1;
  std::strcpy(address.sun_path, path.c_str());
  const int found = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (found >= 0 && connect(found, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return found;
  if (found >= 0) ::close(found);
  return -1;
}

bool Link::start_engine() {
  const std::string record = engine_record(), python = json_text(record, "python");
  if (python.empty()) {
    tell("no engine is recorded. Run: genaudio plugin install");
    return false;  // and as soon as that was done, it starts
  }
  const std::string log = runtime_folder() + "/serve.log", path = json_text(record, "path");
  // The shell ends at once, so the engine is no child of the host and outlives it until it is idle.
  const char* script = "\"$1\" -m bridge.cli serve --detached </dev/null >>\"$0\" 2>&1 &";
  const char* arguments[] = {"/bin/sh", "-c", script, log.c_str(), python.c_str(), nullptr};
  std::string python_path = "PYTHONPATH=" + path;
  std::vector<char*> environment;
  for (char** one = environ; *one; ++one) {  // a host's own libraries are not the interpreter's
    bool ours = true;
    for (const char* name : {"LD_LIBRARY_PATH=", "LD_PRELOAD=", "PYTHONPATH=", "PYTHONHOME="})
      if (std::strncmp(*one, name, std::strlen(name)) == 0) ours = false;
    if (ours) environment.push_back(*one);
  }
  if (!path.empty()) environment.push_back(&python_path[0]);
  char safe_path[] = "PYTHONSAFEPATH=1";  // a folder of the same name where the host was started is not ours
  environment.push_back(safe_path);
  environment.push_back(nullptr);
  posix_spawnattr_t how;
  posix_spawnattr_init(&how);
  sigset_t none, all;
  sigemptyset(&none), sigfillset(&all);
  posix_spawnattr_setsigmask(&how, &none), posix_spawnattr_setsigdefault(&how, &all);
  posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid;
  if (posix_spawn(&pid, "/bin/sh", nullptr, &how, const_cast<char**>(arguments), environment.data()) == 0) waitpid(pid, nullptr, 0);
  else tell("the engine cannot be started.");
  posix_spawnattr_destroy(&how);
  return true;
}

int Link::connect_or_start() {
  const std::string folder = runtime_folder();
  if (!is_ours(folder)) {
    tell(folder + " is not a folder of yours alone; the engine cannot be met there.");
    return -1;
  }
  bool started = false;
  for (int turn = 0; turn < 300; ++turn) {  // 15 s
    const std::string found = first_line(folder + "/serve.json");
    const int socket = connect_to(json_text(found, "socket"));
    if (socket >= 0) {
      const int protocol = int(json_number(found, "protocol"));
      if (protocol == PROTOCOL) return socket;
      ::close(socket);
      tell("the engine that runs speaks protocol " + std::to_string(protocol) + ", this plug-in " +
           std::to_string(PROTOCOL) + ": dry. Run: genaudio plugin install");
      refused = true;
      changed.notify_all();
      return -1;
    }
    if (!started) started = start_engine();
    if (!pause(0.05)) return -1;
  }
  tell("the engine does not answer; see " + folder + "/serve.log");
  return -1;
}

bool Link::talk(int socket) {
  // The first line carries the memory.
  const std::string first = hello() + "\n";
  iovec part{const_cast<char*>(first.data()), first.size()};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1, message.msg_control = space, message.msg_controllen = sizeof space;
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(rights), &memory, sizeof(int));
  if (sendmsg(socket, &message, MSG_NOSIGNAL) != ssize_t(first.size())) return false;
  std::string buffer;
  while (true) {
    pollfd both[2] = {{socket, POLLIN, 0}, {wake[0], POLLIN, 0}};
    if (poll(both, 2, -1) < 0 && errno != EINTR) return false;
    char data[4096];
    if (both[1].revents) {
      if (read(wake[0], data, sizeof data) < 0) {}
      std::lock_guard<std::mutex> lock(mutex);
      if (quit) return true;
      for (; !waiting.empty(); waiting.pop_front())
        if (::send(socket, waiting.front().data(), waiting.front().size(), MSG_NOSIGNAL) < 0) return false;
    }
    if (!both[0].revents) continue;
    const ssize_t n = recv(socket, data, sizeof data, 0);
    if (n <= 0) return false;
    buffer.append(data, size_t(n));
    for (size_t end; (end = buffer.find('\n')) != std::string::npos; buffer.erase(0, end + 1)) {
      const std::string line = buffer.substr(0, end);
      if (const std::string said = json_text(line, "line"); !said.empty()) tell(said);
      const std::string state = json_text(line, "state");
      if (state == "ready" || state == "refused") {
        {
          std::lock_guard<std::mutex> lock(mutex);
          (state == "ready" ? ready : refused) = true;
          starting = false;
        }
        changed.notify_all();
      }
      heard(line);
    }
    if (buffer.size() > 1u << 20) return false;
  }
}

void Link::run() {
  double rest = 0.2;
  do {
    refused = false;
    starting = true;
    const int socket = connect_or_start();
    if (socket < 0) starting = false;
    if (socket >= 0) {
      const bool asked = talk(socket);
      ::close(socket);
      if (ready) rest = 0.2;
      {
        std::lock_guard<std::mutex> lock(mutex);
        ready = false;
        waiting.clear();
      }
      if (asked) return;
      ++lost;
    }
    if (refused) rest = 5.0;
    if (!pause(rest)) return;
    rest = rest < 2.5 ? rest * 2 : 5.0;
  } while (true);
}

}  // namespace genaudio
