// An exported core, simulated, with its registers and its memory behind AXI4, or, with -DWISHBONE,
// behind Wishbone. Memory answers in order after a latency, and stalls.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "Vcore.h"
#include "verilated.h"

namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kBase = 0xabcdc00000;
constexpr uint64_t kMostWait = 1000;  // cycles until a register answers

[[noreturn]] void fail(const std::string& message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    std::exit(2);
}

void check(bool fine, const char* message) {
    if (!fine) fail(message);
}

// Answers that come in order, each no sooner than it is due, and stay until they are taken.
struct Answer {
    uint64_t due;
    Bytes data;
    bool bad, last;
};

class Chance {
public:
    explicit Chance(unsigned percent) : percent_(percent) {}
    bool stalls() { return percent_ && generator_() % 100 < percent_; }

private:
    std::mt19937 generator_{1};
    unsigned percent_;
};

// A processor's view of the core, and memory.
class Core {
public:
    Core(size_t bytes, uint64_t latency, unsigned stall)
        : memory(bytes), latency_(latency), chance_(stall) {
        reset(4);
    }

    // What has become of an access to a register.
    struct Access {
        uint32_t value;
        bool fine;
    };

    Access read_any(uint32_t address);
    Access write_any(uint32_t address, uint32_t value, unsigned strobes = 0xf);
    uint32_t read(uint32_t address);
    void write(uint32_t address, uint32_t value);
    void cycle();
    void reset(unsigned cycles);

    VerilatedContext context;
    Vcore top{&context};
    Bytes memory;
    std::set<uint64_t> broken;

private:
    void hold_reset(bool level);
    void quiet();
    void drive();
    void take();
#ifdef WISHBONE
    Access ask(uint32_t address);
#endif

    void edge(int level) {
#ifdef WISHBONE
        top.clk = level;
#else
        top.aclk = level;
#endif
        top.eval();
    }

    // Where a place on the bus is in memory, if it is, and nothing is wrong with it.
    uint8_t* at(uint64_t place, size_t bytes) {
        const uint64_t address = place - kBase;
        if (place < kBase || address + bytes > memory.size() || broken.count(address))
            return nullptr;
        return &memory[address];
    }

    Answer answer(uint64_t place, size_t bytes, bool last) {
        const uint8_t* found = at(place, bytes);
        Bytes data(bytes);
        if (found) std::memcpy(data.data(), found, bytes);
        return {now_ + latency_, data, !found, last};
    }

    uint64_t now_ = 0, latency_;
    Chance chance_;
    std::deque<Answer> reads_, writes_;
    struct Burst {
        uint64_t place;
        unsigned beats;
    };
    std::deque<Burst> bursts_;
    struct Beat {
        Bytes data;
        uint64_t strobes;
        bool last;
    };
    std::deque<Beat> beats_;
    bool bad_ = false, took_read_ = false, took_write_ = false;
};

void Core::cycle() {
    drive();
    edge(0);
    take();
    edge(1);
    ++now_;
}

#ifdef WISHBONE

constexpr size_t kBytes = sizeof(Vcore::m_wb_dat_r);

void Core::hold_reset(bool level) { top.rst = level; }

void Core::quiet() { top.s_wb_cyc = top.s_wb_stb = top.m_wb_ack = top.m_wb_err = 0; }

void Core::drive() {
    const bool due = !reads_.empty() && reads_.front().due <= now_ && !chance_.stalls();
    top.m_wb_stall = chance_.stalls();
    top.m_wb_ack = due && !reads_.front().bad;
    top.m_wb_err = due && reads_.front().bad;
    if (due) {
        std::memcpy(&top.m_wb_dat_r, reads_.front().data.data(), kBytes);
        reads_.pop_front();
    }
}

void Core::take() {
    check(top.m_wb_cyc || (reads_.empty() && !top.m_wb_stb), "the cycle ends too early");
    if (!top.m_wb_stb || top.m_wb_stall) return;
    const uint64_t place = top.m_wb_adr * kBytes;
    if (uint8_t* found = top.m_wb_we ? at(place, kBytes) : nullptr)
        std::memcpy(found, &top.m_wb_dat_w, kBytes);
    reads_.push_back(answer(place, kBytes, true));
}

Core::Access Core::read_any(uint32_t address) {
    top.s_wb_we = 0;
    top.s_wb_sel = 0xf;
    return ask(address);
}

Core::Access Core::write_any(uint32_t address, uint32_t value, unsigned strobes) {
    top.s_wb_we = 1;
    top.s_wb_sel = strobes;
    top.s_wb_dat_w = value;
    return ask(address);
}

Core::Access Core::ask(uint32_t address) {
    top.s_wb_cyc = top.s_wb_stb = 1;
    top.s_wb_adr = address / 4;
    cycle();
    top.s_wb_stb = 0;
    drive();
    edge(0);
    check(top.s_wb_ack + top.s_wb_err == 1, "a register does not answer");
    const Access found = {top.s_wb_dat_r, top.s_wb_ack != 0};
    take();
    edge(1);
    ++now_;
    top.s_wb_cyc = 0;
    return found;
}

#else

constexpr size_t kBytes = sizeof(Vcore::m_axi_rdata);

void Core::hold_reset(bool level) { top.aresetn = !level; }

void Core::quiet() {
    top.s_axi_arvalid = top.s_axi_awvalid = top.s_axi_wvalid = 0;
    top.s_axi_rready = top.s_axi_bready = top.m_axi_rvalid = top.m_axi_bvalid = 0;
}

void Core::drive() {
    if (took_read_) top.m_axi_rvalid = 0;
    if (took_write_) top.m_axi_bvalid = 0;
    took_read_ = took_write_ = false;
    top.m_axi_arready = !chance_.stalls();
    top.m_axi_awready = !chance_.stalls();
    top.m_axi_wready = !chance_.stalls();
    if (!top.m_axi_rvalid && !reads_.empty() && reads_.front().due <= now_ && !chance_.stalls()) {
        top.m_axi_rvalid = 1;
        top.m_axi_rlast = reads_.front().last;
        top.m_axi_rresp = reads_.front().bad ? 2 : 0;
        std::memcpy(&top.m_axi_rdata, reads_.front().data.data(), kBytes);
        reads_.pop_front();
    }
    if (!top.m_axi_bvalid && !writes_.empty() && writes_.front().due <= now_
        && !chance_.stalls()) {
        top.m_axi_bvalid = 1;
        top.m_axi_bresp = writes_.front().bad ? 2 : 0;
        writes_.pop_front();
    }
}

// What passes at the end of this cycle.
void Core::take() {
    if (top.m_axi_arvalid && top.m_axi_arready)
        for (unsigned beat = 0; beat <= top.m_axi_arlen; ++beat)
            reads_.push_back(answer(top.m_axi_araddr + beat * kBytes, kBytes,
                                    beat == top.m_axi_arlen));
    if (top.m_axi_awvalid && top.m_axi_awready)
        bursts_.push_back({top.m_axi_awaddr, top.m_axi_awlen + 1u});
    if (top.m_axi_wvalid && top.m_axi_wready) {
        Bytes data(kBytes);
        std::memcpy(data.data(), &top.m_axi_wdata, kBytes);
        beats_.push_back({data, top.m_axi_wstrb, top.m_axi_wlast != 0});
    }
    while (!bursts_.empty() && !beats_.empty()) {
        Burst& burst = bursts_.front();
        const Beat& beat = beats_.front();
        uint8_t* found = at(burst.place, kBytes);
        bad_ |= !found;
        for (size_t byte = 0; found && byte < kBytes; ++byte)
            if (beat.strobes >> byte & 1) found[byte] = beat.data[byte];
        burst.place += kBytes;
        check(beat.last == (--burst.beats == 0), "wlast is wrong");
        if (beat.last) {
            writes_.push_back({now_ + latency_, {}, bad_, true});
            bursts_.pop_front();
            bad_ = false;
        }
        beats_.pop_front();
    }
    took_read_ = top.m_axi_rvalid && top.m_axi_rready;
    took_write_ = top.m_axi_bvalid && top.m_axi_bready;
}

Core::Access Core::read_any(uint32_t address) {
    top.s_axi_araddr = address;
    top.s_axi_arvalid = top.s_axi_rready = 1;
    for (uint64_t left = kMostWait; left; --left) {
        edge(0);
        const bool taken = top.s_axi_arvalid && top.s_axi_arready, come = top.s_axi_rvalid;
        const Access found = {top.s_axi_rdata, top.s_axi_rresp == 0};
        cycle();
        if (taken) top.s_axi_arvalid = 0;
        if (!come) continue;
        top.s_axi_rready = 0;
        return found;
    }
    fail("a register does not answer");
}

Core::Access Core::write_any(uint32_t address, uint32_t value, unsigned strobes) {
    top.s_axi_awaddr = address;
    top.s_axi_wdata = value;
    top.s_axi_wstrb = strobes;
    top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_bready = 1;
    for (uint64_t left = kMostWait; left; --left) {
        edge(0);
        const bool addressed = top.s_axi_awvalid && top.s_axi_awready;
        const bool given = top.s_axi_wvalid && top.s_axi_wready, come = top.s_axi_bvalid;
        const Access found = {0, top.s_axi_bresp == 0};
        cycle();
        if (addressed) top.s_axi_awvalid = 0;
        if (given) top.s_axi_wvalid = 0;
        if (!come) continue;
        top.s_axi_bready = 0;
        return found;
    }
    fail("a register does not answer");
}

#endif

// Reset, which whoever is at the buses shares.
void Core::reset(unsigned cycles) {
    reads_.clear();
    writes_.clear();
    bursts_.clear();
    beats_.clear();
    bad_ = took_read_ = took_write_ = false;
    quiet();
    hold_reset(true);
    for (; cycles; --cycles) {
        edge(0);
        edge(1);
        ++now_;
    }
    hold_reset(false);
    cycle();
}

uint32_t Core::read(uint32_t address) {
    const Access found = read_any(address);
    check(found.fine, "a register cannot be read");
    return found.value;
}

void Core::write(uint32_t address, uint32_t value) {
    check(write_any(address, value).fine, "a register cannot be written");
}

Bytes content(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(std::string("cannot read ") + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace
