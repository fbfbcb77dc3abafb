// Runs a core at Verilator's own speed: external memory, watchdog, checks against the golden
// machine. sim/harness/verilator.py builds and starts it; core_shape.h, which it generates, has what depends
// on the core: kBusBytes, kBanks, kWords, banks(), takes_response() and counters().
//
// A cycle begins with clk low and the inputs of that cycle; what the core answers is looked at when
// it has settled, then clk rises. Cycle 0 of a run is the one with `start`.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "core_shape.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif VM_TRACE_SAIF
#include "verilated_saif_c.h"
using Trace = VerilatedSaifC;
#elif VM_TRACE_VCD
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

namespace {

using Bytes = std::vector<uint8_t>;
using Beat = std::array<uint8_t, kBusBytes>;

constexpr uint64_t kNever = ~uint64_t{0};
constexpr unsigned kWriteBit = 32, kDataBit = 33, kErrorBit = 8 * kBusBytes;
constexpr uint64_t kTicks = 10;  // of the trace's time in a cycle

// Ports are integers up to 64 bits and arrays of 32-bit words beyond.
template <class Port>
uint32_t get(const Port& port, unsigned low, unsigned width) {
    uint64_t value;
    if constexpr (std::is_integral_v<Port>) {
        value = static_cast<uint64_t>(port) >> low;
    } else {
        value = static_cast<uint64_t>(port[low / 32]) >> low % 32;
        if (low % 32 + width > 32) value |= static_cast<uint64_t>(port[low / 32 + 1])
                                            << (32 - low % 32);
    }
    return static_cast<uint32_t>(value & ((uint64_t{1} << width) - 1));
}

// Of a bit field that is zero so far and lies in one word.
template <class Port>
void put(Port& port, unsigned low, uint32_t value) {
    if constexpr (std::is_integral_v<Port>) {
        port = static_cast<Port>(port | static_cast<uint64_t>(value) << low);
    } else {
        port[low / 32] |= value << low % 32;
    }
}

template <class Port>
void clear(Port& port) {
    std::memset(&port, 0, sizeof port);
}

Bytes read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error("cannot read " + path);
    Bytes data(static_cast<size_t>(file.tellg()));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()));
    if (!file) throw std::runtime_error("cannot read " + path);
    return data;
}

void write_file(const std::string& path, const void* data, size_t size) {
    std::ofstream file(path, std::ios::binary);
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path);
}

class Options {
public:
    Options(int argc, char** argv) {
        for (int at = 1; at + 1 < argc; at += 2) values_[argv[at]] = argv[at + 1];
        if (argc % 2 == 0) throw std::runtime_error("options are pairs of a name and a value");
    }

    std::string text(const std::string& name, const std::string& otherwise = "") const {
        const auto found = values_.find(name);
        return found == values_.end() ? otherwise : found->second;
    }

    uint64_t number(const std::string& name, uint64_t otherwise) const {
        const std::string value = text(name);
        return value.empty() ? otherwise : std::stoull(value);
    }

private:
    std::map<std::string, std::string> values_;
};

// A random number of a seed for a cycle and a purpose, by splitmix64.
uint64_t random_of(uint64_t seed, uint64_t cycle, uint64_t purpose) {
    uint64_t x = seed + 0x9e3779b97f4a7c15 * (8 * cycle + purpose + 1);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

// What keeps external memory from its regular pace (sim/harness/disturbance.py). Each window of
// kWindow cycles has its own mood, so that there are long stalls and bursts without any.
class Disturbance {
public:
    enum Purpose { kRequest, kResponse, kLatency };

    explicit Disturbance(const Options& options)
        : random_(!options.text("memory-seed").empty()),
          seed_(options.number("memory-seed", 0)),
          interval_(options.number("refresh-interval", 0)),
          pause_(options.number("refresh-pause", 0)) {}

    // Whether nothing of this kind passes in a cycle.
    bool stalls(uint64_t cycle, Purpose purpose) const {
        if (interval_ && cycle % interval_ >= interval_ - pause_) return true;
        constexpr std::array<unsigned, 4> sixteenths{0, 4, 8, 15};
        return random_ && random_of(seed_, cycle, purpose) % 16 < sixteenths[mood(cycle, purpose)];
    }

    // Cycles of latency that come on top for a request of a cycle.
    uint64_t late(uint64_t cycle) const {
        constexpr std::array<unsigned, 4> most{0, 3, 30, 150};
        if (!random_) return 0;
        return random_of(seed_, cycle, kLatency) % (most[mood(cycle, kLatency)] + 1);
    }

private:
    static constexpr uint64_t kWindow = 64, kMood = 4;

    size_t mood(uint64_t cycle, Purpose purpose) const {
        return random_of(seed_, cycle / kWindow, kMood + purpose) % 4;
    }

    bool random_;
    uint64_t seed_, interval_, pause_;
};

// External memory behind its port: a request takes `cost / unit` cycles of the port, and is
// answered `latency` cycles after it has been accepted, or later if something disturbs it. Answers
// come in order, one per cycle at most.
class Memory {
public:
    Memory(Bytes bytes, const Options& options)
        : bytes(std::move(bytes)),
          disturbance_(options),
          latency_(options.number("latency", 1)),
          cost_(options.number("cost", 1)),
          unit_(options.number("unit", 1)),
          fail_at_(options.number("fail-at", kNever)) {}

    bool ready(uint64_t now) const {
        return free_ < (now + 1) * unit_ && !disturbance_.stalls(now, Disturbance::kRequest);
    }

    bool answers(uint64_t now) const { return !waiting_.empty() && waiting_.front().due <= now; }

    template <class Port>
    void show(Port& port) const {
        clear(port);
        const Answer& answer = waiting_.front();
        for (unsigned at = 0; at < kBusBytes; ++at) put(port, 8 * at, answer.data[at]);
        put(port, kErrorBit, answer.error);
    }

    void answered() { waiting_.pop_front(); }

    template <class Port>
    void accept(uint64_t now, const Port& request) {
        free_ = std::max(free_, now * unit_) + cost_;
        const uint64_t address = get(request, 0, 32);
        const bool write = get(request, kWriteBit, 1);
        Answer answer{due(now), {}, false};
        const bool failing = requests() == fail_at_;
        if (failing) fail_at_ = kNever;
        answer.error = failing || address % kBusBytes || address + kBusBytes > bytes.size();
        if (!answer.error && write) {
            for (unsigned at = 0; at < kBusBytes; ++at)
                bytes[address + at] = static_cast<uint8_t>(get(request, kDataBit + 8 * at, 8));
            written.push_back(static_cast<uint32_t>(address));
        } else if (!answer.error) {
            std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(address), kBusBytes,
                        answer.data.begin());
        }
        waiting_.push_back(answer);
        ++(write ? writes : reads);
    }

    // Forget what has been asked for and how much.
    void reset() {
        waiting_.clear();
        free_ = next_ = reads = writes = 0;
    }

    uint64_t requests() const { return reads + writes; }

    Bytes bytes;
    uint64_t reads = 0, writes = 0;
    std::vector<uint32_t> written;  // addresses of beats, since the last check

private:
    struct Answer {
        uint64_t due;
        Beat data;
        bool error;
    };

    uint64_t due(uint64_t now) {
        uint64_t at = std::max(now + latency_ + disturbance_.late(now), next_);
        while (disturbance_.stalls(at, Disturbance::kResponse)) ++at;
        next_ = at + 1;
        return at;
    }

    Disturbance disturbance_;
    uint64_t latency_, cost_, unit_, fail_at_;
    uint64_t free_ = 0;  // when the port is free again, in 1 / unit_ cycles
    uint64_t next_ = 0;  // first cycle that has no answer yet
    std::deque<Answer> waiting_;
};

struct Difference {
    bool found = false, scratchpad = false;
    uint64_t instruction = 0, place = 0, bank = 0, count = 0;
    unsigned expected = 0, actual = 0;
};

// What the golden machine writes, instruction after instruction. The file has for each: the number
// of pieces of the scratchpad; of each its first word, its words, which of their banks are written
// (a byte each), and all banks; then the same for memory in bytes, all of which are written. Numbers
// have 32 bits, banks 16.
class Check {
public:
    explicit Check(const std::string& path) : active_(!path.empty()) {
        if (active_) data_ = read_file(path);
    }

    bool exhausted() const { return active_ && at_ == data_.size(); }

    // Take what is there as it is.
    void begin(Vcore& top, const Memory& memory) {
        if (!active_) return;
        at_ = 0;
        const auto now = banks(top);
        for (unsigned bank = 0; bank < kBanks; ++bank)
            scratchpad_[bank].assign(now[bank], now[bank] + kWords);
        memory_ = memory.bytes;
    }

    Difference after(uint64_t instruction, Vcore& top, Memory& memory) {
        Difference difference;
        if (!active_) {
            memory.written.clear();
            return difference;
        }
        difference.instruction = instruction;
        advance(memory);
        compare(top, difference);
        if (!difference.found) compare(memory, difference);
        memory.written.clear();
        return difference;
    }

private:
    uint32_t number() {
        uint32_t value = 0;
        take(&value, sizeof value);
        return value;
    }

    void take(void* to, size_t size) {
        if (at_ + size > data_.size()) throw std::runtime_error("the expected values are damaged");
        std::memcpy(to, data_.data() + at_, size);
        at_ += size;
    }

    void advance(Memory& memory) {
        for (uint32_t pieces = number(); pieces; --pieces) {
            const uint32_t first = number(), words = number();
            std::vector<uint8_t> written(uint64_t{words} * kBanks);
            take(written.data(), written.size());
            auto here = written.begin();
            for (uint32_t word = first; word < first + words; ++word)
                for (auto& bank : scratchpad_) {
                    uint16_t value;
                    take(&value, sizeof value);
                    if (*here++) bank.at(word) = value;
                }
        }
        for (uint32_t pieces = number(); pieces; --pieces) {
            const uint32_t first = number(), size = number();
            if (uint64_t{first} + size > memory_.size())
                throw std::runtime_error("an expected address is beyond the memory");
            take(&memory_[first], size);
            for (uint32_t address = first / kBusBytes * kBusBytes; address < first + size;
                 address += kBusBytes)
                memory.written.push_back(address);
        }
    }

    void compare(Vcore& top, Difference& difference) const {
        const auto now = banks(top);
        uint64_t first = kWords;
        for (unsigned bank = 0; bank < kBanks; ++bank) {
            const uint16_t* expected = scratchpad_[bank].data();
            if (!std::memcmp(expected, now[bank], 2 * kWords)) continue;
            for (uint64_t word = 0; word < kWords; ++word) {
                if (expected[word] == now[bank][word]) continue;
                ++difference.count;
                if (word >= first) continue;
                first = word;
                difference.found = difference.scratchpad = true;
                difference.place = word;
                difference.bank = bank;
                difference.expected = expected[word];
                difference.actual = now[bank][word];
            }
        }
    }

    void compare(Memory& memory, Difference& difference) const {
        auto& beats = memory.written;
        std::sort(beats.begin(), beats.end());
        beats.erase(std::unique(beats.begin(), beats.end()), beats.end());
        for (const uint64_t beat : beats) {
            for (uint64_t address = beat; address < std::min<uint64_t>(beat + kBusBytes,
                                                                       memory_.size()); ++address) {
                if (memory_[address] == memory.bytes[address]) continue;
                ++difference.count;
                if (difference.found) continue;
                difference.found = true;
                difference.place = address;
                difference.expected = memory_[address];
                difference.actual = memory.bytes[address];
            }
        }
    }

    bool active_;
    Bytes data_, memory_;
    size_t at_ = 0;
    std::array<std::vector<uint16_t>, kBanks> scratchpad_;
};

#if VM_TRACE_SAIF
// What toggles, in windows: consecutive instructions of the same group, numbers of 32 bits in a
// file, one for each instruction. Each window is a file `window.N` in a folder, and is said on
// standard output with its group. A window ends with the sample that the next one begins with, so
// that no toggle is lost or counted twice.
//
// Verilator takes every bit for 0 before the first sample of a file: one that is 1 in it has a
// toggle too many. The first sample is held for kHeld ticks, all others for one, so that the file
// says which bits these are (sim/activity/saif.py).
class Windows {
public:
    Windows(const Options& options, Vcore& top) : top_(top), folder_(options.text("out")) {
        const Bytes data = read_file(options.text("windows"));
        groups_.resize(data.size() / sizeof(uint32_t));
        std::memcpy(groups_.data(), data.data(), groups_.size() * sizeof(uint32_t));
    }

    void sample() {
        if (!trace_) return;
        time_ += first_ ? kHeld : 1;
        first_ = false;
        trace_->dump(time_);
    }

    // The instruction that begins with the sample taken last.
    void begin(uint64_t instruction) {
        const uint32_t group = instruction < groups_.size() ? groups_[instruction] : kNone;
        if (group == group_) return;
        close();
        group_ = group;
        if (group == kNone) return;
        trace_ = std::make_unique<Trace>();  // one opened again would take what is for 0
        top_.trace(trace_.get(), 99);
        trace_->open((folder_ + "/window." + std::to_string(number_)).c_str());
        trace_->dump(++time_);
        first_ = true;
    }

    void close() {
        if (!trace_) return;
        trace_->close();
        trace_.reset();
        std::printf("window %u %u\n", number_++, group_);
        std::fflush(stdout);
        group_ = kNone;
    }

private:
    static constexpr uint64_t kHeld = uint64_t{1} << 40;
    static constexpr uint32_t kNone = ~uint32_t{0};

    Vcore& top_;
    std::string folder_;
    std::vector<uint32_t> groups_;
    std::unique_ptr<Trace> trace_;
    uint64_t time_ = 0;
    uint32_t group_ = kNone, number_ = 0;
    bool first_ = false;
};
#endif

class Simulation {
public:
    explicit Simulation(const Options& options)
        : memory_(read_file(options.text("memory")), options),
          check_(options.text("check")),
          stream_(static_cast<uint32_t>(options.number("stream", 0))),
          stream_bytes_(static_cast<uint32_t>(options.number("stream-bytes", 0))),
          first_(static_cast<uint32_t>(options.number("first", stream_))),
          first_bytes_(static_cast<uint32_t>(options.number("first-bytes", stream_bytes_))),
          watchdog_(options.number("watchdog", kNever)),
          reset_at_(options.number("reset-at", kNever)),
          runs_(options.number("runs", 1)),
          stop_at_(options.number("stop-at", kNever)),
          trace_from_(options.number("trace-from", 0)),
          trace_to_(options.number("trace-to", kNever)),
          watch_word_(options.number("watch-word", kNever)),
          watch_bank_(options.number("watch-bank", 0)) {
        context_.traceEverOn(true);
        top_ = std::make_unique<Vcore>(&context_);
#if VM_TRACE_SAIF
        if (!options.text("windows").empty()) windows_ = std::make_unique<Windows>(options, *top_);
#elif VM_TRACE
        if (!options.text("trace").empty()) {
            trace_ = std::make_unique<Trace>();
            top_->trace(trace_.get(), 99);
            trace_->open(options.text("trace").c_str());
        }
#endif
    }

    void run() {
        begun_ = shown_ = std::chrono::steady_clock::now();
        reset();
        for (uint64_t run = 0; run < runs_ && (run == 0 || outcome_ == "done"); ++run) {
            last_ = run + 1 == runs_ && reset_at_ == kNever;
            other_ = run == 0 && (first_ != stream_ || first_bytes_ != stream_bytes_);
            once();
            if (outcome_ == "reset") {
                reset();
                last_ = true;
                reset_at_ = kNever;
                once();
            }
        }
#if VM_TRACE_SAIF
        if (windows_) windows_->close();
#elif VM_TRACE
        if (trace_) trace_->close();
#endif
        top_->final();
    }

    void write(const std::string& folder) {
        const double seconds = elapsed(begun_);
        write_file(folder + "/memory", memory_.bytes.data(), memory_.bytes.size());
        std::vector<uint16_t> words(kWords * kBanks);
        const auto now = banks(*top_);
        for (uint64_t word = 0; word < kWords; ++word)
            for (unsigned bank = 0; bank < kBanks; ++bank)
                words[word * kBanks + bank] = now[bank][word];
        write_file(folder + "/scratchpad", words.data(), 2 * words.size());

        std::string text = "{\"outcome\": \"" + outcome_ + "\", \"message\": \"" + message_ + "\"";
        const auto add = [&text](const std::string& name, const std::string& value) {
            text += ", \"" + name + "\": " + value;
        };
        add("status", std::to_string(top_->status));
        add("cycles", std::to_string(cycle_));
        add("simulated", std::to_string(now_));
        add("seconds", std::to_string(seconds));
        add("reads", std::to_string(memory_.reads));
        add("writes", std::to_string(memory_.writes));
        add("activity", std::to_string(activity_));
        if (changed_ != kNever) add("changed", std::to_string(changed_));
        std::string list, sep;
        for (const uint64_t end : ends_) {
            list += sep + std::to_string(end);
            sep = ", ";
        }
        add("ends", "[" + list + "]");
        list.clear();
        sep.clear();
        counters(*top_, [&](const char* name, uint64_t value) {
            list += sep + "\"" + name + "\": " + std::to_string(value);
            sep = ", ";
        });
        add("counters", "{" + list + "}");
        if (difference_.found) {
            const Difference& d = difference_;
            add("difference", "{\"scratchpad\": " + std::string(d.scratchpad ? "true" : "false")
                + ", \"instruction\": " + std::to_string(d.instruction)
                + ", \"place\": " + std::to_string(d.place) + ", \"bank\": "
                + std::to_string(d.bank) + ", \"count\": " + std::to_string(d.count)
                + ", \"expected\": " + std::to_string(d.expected) + ", \"actual\": "
                + std::to_string(d.actual) + "}");
        }
        text += "}\n";
        write_file(folder + "/result.json", text.data(), text.size());
    }

private:
    using Clock = std::chrono::steady_clock;

    static double elapsed(Clock::time_point since) {
        return std::chrono::duration<double>(Clock::now() - since).count();
    }

    void dump([[maybe_unused]] uint64_t time) {
#if VM_TRACE && !VM_TRACE_SAIF
        if (trace_ && last_ && cycle_ >= trace_from_ && cycle_ < trace_to_) trace_->dump(time);
#endif
    }

    void reset() {
        memory_.reset();
        offered_ = false;
        top_->rst = 1;
        top_->start = 0;
        top_->request___05Fready = 0;
        top_->response___05Fvalid = 0;
        for (int edge = 0; edge < 4; ++edge) {
            top_->clk = edge & 1;
            top_->eval();
        }
        top_->rst = 0;
    }

    // Inputs of a cycle, and what they make of the outputs.
    void settle(bool start) {
        top_->clk = 0;
        top_->start = start;
        top_->stream = other_ ? first_ : stream_;
        top_->stream_bytes = other_ ? first_bytes_ : stream_bytes_;
        top_->request___05Fready = memory_.ready(now_);
        top_->response___05Fvalid = memory_.answers(now_);
        if (top_->response___05Fvalid) memory_.show(top_->response___05Fpayload);
        top_->eval();
        dump(kTicks * cycle_);
#if VM_TRACE_SAIF
        if (windows_ && last_) windows_->sample();
#endif
    }

    void edge() {
        top_->clk = 1;
        top_->eval();
        dump(kTicks * cycle_ + kTicks / 2);
        ++now_;
        ++cycle_;
    }

    // What passes the port at the end of a cycle.
    void transfer() {
        const auto& payload = top_->request___05Fpayload;
        if (offered_ && (!top_->request___05Fvalid
                         || std::memcmp(&held_, &payload, sizeof held_)))
            protocol("a request was withdrawn or changed before it was taken");
        offered_ = top_->request___05Fvalid && !top_->request___05Fready;
        if (offered_) std::memcpy(&held_, &payload, sizeof held_);
        if (top_->response___05Fvalid) {
            activity_ = cycle_;
            if (!takes_response(*top_)) protocol("a response was not taken");
            memory_.answered();
        }
        if (top_->request___05Fvalid && top_->request___05Fready) {
            activity_ = cycle_;
            memory_.accept(now_, payload);
        }
    }

    void protocol(const std::string& message) {
        if (outcome_ == "protocol") return;
        outcome_ = "protocol";
        message_ = message;
    }

    void once() {
        cycle_ = activity_ = 0;
        changed_ = kNever;
        ends_.clear();
        outcome_.clear();
        memory_.reads = memory_.writes = 0;
        memory_.written.clear();
        const uint16_t* watched = nullptr;
        uint16_t before = 0;
        if (watch_word_ != kNever) {
            watched = banks(*top_)[watch_bank_] + watch_word_;
            before = *watched;
        }
        settle(true);
        begin(0);
        transfer();
        edge();
        // By now there is also what a run that an error has ended was about to write.
        check_.begin(*top_, memory_);
        uint64_t since = 0;
        while (outcome_.empty()) {
            settle(false);
            if (watched && *watched != before) {
                before = *watched;
                changed_ = cycle_;
            }
            if (top_->index != ends_.size()) {
                since = cycle_;
                completed();
            }
            if (outcome_.empty() && top_->done) outcome_ = "done";
            if (outcome_.empty() && cycle_ - since >= watchdog_) outcome_ = "hang";
            if (outcome_.empty() && cycle_ >= stop_at_) outcome_ = "stopped";
            if (outcome_.empty() && cycle_ == reset_at_) outcome_ = "reset";
            if (!outcome_.empty()) break;
            transfer();
            if (!outcome_.empty()) break;
            edge();
            if (now_ % 2048 == 0 && elapsed(shown_) > 0.5) show();
        }
        if (outcome_ == "done" && runs_ > 1) {
            transfer();
            edge();
            --cycle_;
        }
    }

    void begin([[maybe_unused]] uint64_t instruction) {
#if VM_TRACE_SAIF
        if (windows_ && last_) windows_->begin(instruction);
#endif
    }

    void completed() {
        const uint64_t instruction = ends_.size();
        if (top_->index != instruction + 1) {
            protocol("the index went from " + std::to_string(instruction) + " to "
                     + std::to_string(top_->index));
            return;
        }
        if (other_) {
            ends_.push_back(cycle_);
            return;
        }
        if (check_.exhausted()) {
            protocol("there were more instructions than the program has");
            return;
        }
        ends_.push_back(cycle_);
        begin(instruction + 1);
        difference_ = check_.after(instruction, *top_, memory_);
        if (difference_.found) outcome_ = "mismatch";
    }

    void show() {
        shown_ = Clock::now();
        std::printf("progress %zu %llu %.0f\n", ends_.size(),
                    static_cast<unsigned long long>(cycle_),
                    static_cast<double>(now_) / elapsed(begun_));
        std::fflush(stdout);
    }

    VerilatedContext context_;
    std::unique_ptr<Vcore> top_;
#if VM_TRACE_SAIF
    std::unique_ptr<Windows> windows_;
#elif VM_TRACE
    std::unique_ptr<Trace> trace_;
#endif
    Memory memory_;
    Check check_;
    uint32_t stream_, stream_bytes_, first_, first_bytes_;
    uint64_t watchdog_, reset_at_, runs_, stop_at_, trace_from_, trace_to_, watch_word_, watch_bank_;
    uint64_t now_ = 0;    // cycles since the beginning
    uint64_t cycle_ = 0;  // of this run
    uint64_t activity_ = 0, changed_ = kNever;
    bool last_ = false, other_ = false, offered_ = false;
    std::decay_t<decltype(Vcore::request___05Fpayload)> held_{};
    std::vector<uint64_t> ends_;  // cycle from which on each instruction is complete
    std::string outcome_, message_;
    Difference difference_;
    Clock::time_point begun_, shown_;
};

}  // namespace

int main(int argc, char** argv) {
    try {
        const Options options(argc, argv);
        Simulation simulation(options);
        simulation.run();
        simulation.write(options.text("out"));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 2;
    }
    return 0;
}
