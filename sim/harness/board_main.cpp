// A board in simulation: its serial port is a pseudo terminal, the words of its memory are a file.
//
// Prints "port NAME" and simulates until its input is closed. Whoever maps the file sees the memory
// of the board. Nothing is simulated while nothing can happen: the line is idle, no run is going
// on, and whatever the board waits for has come or been given up.

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "Vcore.h"
#include "core_shape.h"
#include "verilated.h"

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

// The other end of the board's serial line, a bit in so many cycles.
class Line {
public:
    explicit Line(unsigned divisor) : divisor_(divisor) {}

    // What the board's rx is in the next cycle.
    bool next() {
        if (!sending_ && !out.empty()) {
            frame_ = 1u << 9 | unsigned{out.front()} << 1;  // stop, data, start
            out.pop_front();
            sending_ = kBits * divisor_;
        }
        if (!sending_) return true;
        const unsigned bit = kBits - (sending_ + divisor_ - 1) / divisor_;
        --sending_;
        return frame_ >> bit & 1;
    }

    // Take the board's tx of a cycle; whether that ends a byte.
    bool take(bool tx) {
        if (!receiving_) {
            if (!tx) {
                receiving_ = true;
                since_ = 0;
                byte = 0;
            }
            return false;
        }
        ++since_;
        if (since_ % divisor_ != divisor_ / 2) return false;
        const unsigned bit = since_ / divisor_;
        if (bit >= 1 && bit <= 8) byte |= static_cast<uint8_t>(tx << (bit - 1));
        if (bit < 9) return false;
        receiving_ = false;
        if (!tx) throw std::runtime_error("the board has sent a byte without a stop bit");
        return true;
    }

    bool idle() const { return !sending_ && !receiving_ && out.empty(); }

    std::deque<uint8_t> out;
    uint8_t byte = 0;

private:
    static constexpr unsigned kBits = 10;
    unsigned divisor_, sending_ = 0, since_ = 0, frame_ = 0;
    bool receiving_ = false;
};

// A pseudo terminal; it stays while whoever is at it comes and goes.
class Terminal {
public:
    Terminal() {
        master_ = posix_openpt(O_RDWR | O_NOCTTY);
        if (master_ < 0 || grantpt(master_) || unlockpt(master_)) fail("cannot open a terminal");
        name = ptsname(master_);
        kept_ = open(name.c_str(), O_RDWR | O_NOCTTY);
        termios raw{};
        if (kept_ < 0 || tcgetattr(kept_, &raw)) fail("cannot open " + name);
        cfmakeraw(&raw);
        if (tcsetattr(kept_, TCSANOW, &raw)) fail("cannot set up " + name);
        if (fcntl(master_, F_SETFL, O_NONBLOCK)) fail("cannot set up " + name);
    }

    // Take what there is; wait for it, or for the end of the input, if there is time.
    void read(std::deque<uint8_t>& out, bool wait) {
        pollfd polled[] = {{master_, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
        const int found = poll(polled, 2, wait ? -1 : 0);
        if (found < 0 && errno != EINTR) fail("cannot wait");
        if (found <= 0) return;
        if (polled[1].revents) {
            char ignored[256];
            ended = ::read(STDIN_FILENO, ignored, sizeof ignored) <= 0;
        }
        uint8_t bytes[4096];
        const auto count = ::read(master_, bytes, sizeof bytes);
        if (count > 0) out.insert(out.end(), bytes, bytes + count);
    }

    void write(uint8_t byte) {
        while (::write(master_, &byte, 1) != 1) {
            if (errno != EAGAIN && errno != EINTR) fail("cannot write to " + name);
            pollfd polled{master_, POLLOUT, 0};
            if (poll(&polled, 1, 1000) == 0) return;  // nobody reads: lost, as on a line
        }
    }

    std::string name;
    bool ended = false;

private:
    int master_ = -1, kept_ = -1;
};

// Words of the chip in a file.
class Words {
public:
    explicit Words(const std::string& path) {
        const int file = open(path.c_str(), O_RDWR);
        struct stat about{};
        if (file < 0 || fstat(file, &about)) fail("cannot open " + path);
        void* mapped = mmap(nullptr, about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (mapped == MAP_FAILED) fail("cannot map " + path);
        close(file);
        words_ = static_cast<uint16_t*>(mapped);
        count_ = about.st_size / sizeof *words_;
    }

    uint16_t& at(uint64_t address) {
        if (address >= count_) throw std::runtime_error("a word beyond the chip");
        return words_[address];
    }

private:
    uint16_t* words_;
    uint64_t count_;
};

class Board {
public:
    explicit Board(const std::map<std::string, std::string>& options)
        : line_(std::stoul(options.at("divisor"))), words_(options.at("memory")),
          patience_(std::stoull(options.at("patience"))),
          log_(std::fopen(options.at("log").c_str(), "w")) {
        if (!log_) fail("cannot write " + options.at("log"));
        top_ = std::make_unique<Vcore>(&context_);
        top_->rst = 1;
        top_->rx = 1;
        top_->words___05Fread = 0;
        for (int edge = 0; edge < 4; ++edge) {
            top_->clk = edge & 1;
            top_->eval();
        }
        top_->rst = 0;
    }

    void run() {
        std::printf("port %s\n", terminal_.name.c_str());
        std::fflush(stdout);
        uint64_t still = 0;
        while (!terminal_.ended) {
            if (cycle_ % kLook == 0) {
                const bool waits = still > patience_;
                if (waits) std::fflush(log_);
                terminal_.read(line_.out, waits);
                if (!line_.idle()) still = 0;
            }
            const bool busy = cycle();
            still = busy || !line_.idle() ? 0 : still + 1;
        }
    }

private:
    static constexpr uint64_t kLook = 64;  // cycles after which the terminal is looked at

    // Simulate a cycle; return whether a run is going on.
    bool cycle() {
        top_->clk = 0;
        top_->rx = line_.next();
        top_->words___05Fread = read_;
        top_->eval();
        if (top_->violations)
            throw std::runtime_error("violations " + std::to_string(top_->violations));
        if (line_.take(top_->tx)) terminal_.write(line_.byte);
        note();
        const bool writes = top_->words___05Fenable;
        const uint16_t written = top_->words___05Fwrite;
        uint16_t& word = words_.at(top_->words___05Faddress);
        top_->clk = 1;
        top_->eval();
        read_ = word;
        if (writes) word = written;
        ++cycle_;
        return top_->running;
    }

    // Write down when instructions of a run are complete.
    void note() {
        if (running_ && top_->index != index_) {
            index_ = top_->index;
            std::fprintf(log_, "%llu\n", static_cast<unsigned long long>(cycle_ - began_));
        }
        if (running_ && !top_->running && cycle_ > began_ + 1) ended(cycle_);
        if (top_->begins) {
            if (running_) ended(cycle_ - 1);  // that of an image, and the next of the same start
            running_ = true;
            began_ = cycle_;
            index_ = 0;
            std::fprintf(log_, "begin %llu\n", static_cast<unsigned long long>(cycle_));
        }
    }

    void ended(uint64_t cycle) {
        running_ = false;
        std::fprintf(log_, "end %llu\n", static_cast<unsigned long long>(cycle - began_));
        std::fflush(log_);
    }

    VerilatedContext context_;
    std::unique_ptr<Vcore> top_;
    Terminal terminal_;
    Line line_;
    Words words_;
    uint64_t patience_, cycle_ = 0, began_ = 0, index_ = 0;
    uint16_t read_ = 0;
    bool running_ = false;
    std::FILE* log_;
};

}  // namespace

int main(int argc, char** argv) {
    std::map<std::string, std::string> options;
    for (int at = 1; at + 1 < argc; at += 2) options[argv[at]] = argv[at + 1];
    try {
        Board(options).run();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
    return 0;
}
