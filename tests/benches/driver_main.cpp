// Runs the C driver of an exported core on the core itself: its registers and its memory are behind
// AXI4, or, with -DWISHBONE, behind Wishbone.
//
//   main MEMORY PIXELS LATENCY STALL BROKEN...
//
// MEMORY and PIXELS are files; LATENCY is in cycles, STALL in percent of the cycles of each channel;
// at each address BROKEN of the program, a run is tried with memory that answers there with an error.
// The processor sees another memory than the core: what the driver does not clean or invalidate stays
// unknown. Each line that is printed has a name and a value.

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
#include "vernier_program.h"

namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kBase = 0xabcdc00000;
constexpr uintptr_t kRegisters = 0x40000000;
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
        reset(true);
        for (int count = 0; count < 4; ++count) cycle();
        reset(false);
        cycle();
    }

    uint32_t read(uint32_t address);
    void write(uint32_t address, uint32_t value);
    void cycle();

    VerilatedContext context;
    Vcore top{&context};
    Bytes memory;
    std::set<uint64_t> broken;

private:
    void reset(bool level);
    void drive();
    void take();

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

void Core::reset(bool level) { top.rst = level; }

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

uint32_t Core::read(uint32_t address) {
    top.s_wb_cyc = top.s_wb_stb = 1;
    top.s_wb_we = 0;
    top.s_wb_sel = 0xf;
    top.s_wb_adr = address / 4;
    cycle();
    top.s_wb_stb = 0;
    drive();
    edge(0);
    check(top.s_wb_ack && !top.s_wb_err, "a register cannot be read");
    const uint32_t value = top.s_wb_dat_r;
    take();
    edge(1);
    ++now_;
    top.s_wb_cyc = 0;
    return value;
}

void Core::write(uint32_t address, uint32_t value) {
    top.s_wb_dat_w = value;
    top.s_wb_cyc = top.s_wb_stb = top.s_wb_we = 1;
    top.s_wb_sel = 0xf;
    top.s_wb_adr = address / 4;
    cycle();
    top.s_wb_stb = 0;
    drive();
    edge(0);
    check(top.s_wb_ack && !top.s_wb_err, "a register cannot be written");
    take();
    edge(1);
    ++now_;
    top.s_wb_cyc = 0;
}

#else

constexpr size_t kBytes = sizeof(Vcore::m_axi_rdata);

void Core::reset(bool level) { top.aresetn = !level; }

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

uint32_t Core::read(uint32_t address) {
    top.s_axi_araddr = address;
    top.s_axi_arvalid = top.s_axi_rready = 1;
    for (uint64_t left = kMostWait; left; --left) {
        edge(0);
        const bool taken = top.s_axi_arvalid && top.s_axi_arready, come = top.s_axi_rvalid;
        const uint32_t value = top.s_axi_rdata, resp = top.s_axi_rresp;
        cycle();
        if (taken) top.s_axi_arvalid = 0;
        if (!come) continue;
        top.s_axi_rready = 0;
        check(resp == 0, "a register cannot be read");
        return value;
    }
    fail("a register does not answer");
}

void Core::write(uint32_t address, uint32_t value) {
    top.s_axi_awaddr = address;
    top.s_axi_wdata = value;
    top.s_axi_wstrb = 0xf;
    top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_bready = 1;
    for (uint64_t left = kMostWait; left; --left) {
        edge(0);
        const bool addressed = top.s_axi_awvalid && top.s_axi_awready;
        const bool given = top.s_axi_wvalid && top.s_axi_wready, come = top.s_axi_bvalid;
        const uint32_t resp = top.s_axi_bresp;
        cycle();
        if (addressed) top.s_axi_awvalid = 0;
        if (given) top.s_axi_wvalid = 0;
        if (!come) continue;
        top.s_axi_bready = 0;
        check(resp == 0, "a register cannot be written");
        return;
    }
    fail("a register does not answer");
}

#endif

Core* the_core;
Bytes the_processors;

Bytes content(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(std::string("cannot read ") + path);
    return {std::istreambuf_iterator<char>(file), {}};
}

void say(const char* what, unsigned long long value) { std::printf("%s %llu\n", what, value); }

void refusals(vernier& core, const Bytes& image) {
    const auto size = static_cast<uint32_t>(the_processors.size());
    auto open = [&](uint64_t base, uint32_t bytes, uintptr_t registers = kRegisters) {
        return vernier_open(&core, registers, the_processors.data(), base, bytes);
    };
    say("elsewhere", open(kBase, size, kRegisters + VERNIER_CONFIG_FIRST));
    say("within_a_page", open(kBase + 4, size));
    say("beyond_the_bus", open(kBase + (uint64_t{1} << 40), size));
    say("too_much", open(kBase, uint32_t{1} << 31 | 1));
    say("small", open(kBase, VERNIER_PROGRAM.memory_bytes - 1));
    say("does_not_fit", vernier_load(&core, &VERNIER_PROGRAM, image.data()));
    say("opened", open(kBase, size));
    say("nothing_to_start", vernier_start(&core, nullptr));
    say("nothing_to_await", vernier_wait(&core, 0));
    static vernier_program other;
    other = VERNIER_PROGRAM;
    ++other.config[VERNIER_CONFIG_COUNT - 1];
    say("of_another_core", vernier_load(&core, &other, image.data()));
    say("not_loaded", vernier_start(&core, nullptr));
}

void broken_run(vernier& core, const Bytes& pixels, uint64_t address) {
    the_core->broken = {address};
    check(vernier_start(&core, pixels.data()) == VERNIER_OK, "it does not start");
    say("with_broken_memory", vernier_wait(&core, 0));
    check(!the_core->top.irq, "the interrupt is not acknowledged");
    const vernier_error error = vernier_failure(&core);
    std::printf("error %u %u %u\n", error.status, error.source, error.address);
    the_core->broken.clear();
}

void whole_run(vernier& core, const Bytes& pixels) {
    check(vernier_start(&core, pixels.data()) == VERNIER_OK, "it does not start");
    say("started_twice", vernier_start(&core, nullptr));
    say("loaded_while_busy", vernier_load(&core, &VERNIER_PROGRAM, nullptr));
    say("opened_while_busy", vernier_open(&core, kRegisters, core.memory, kBase,
                                          core.memory_bytes));
    core.program = &VERNIER_PROGRAM;
    say("not_yet", vernier_wait(&core, 3));
    check(!the_core->top.irq, "the interrupt comes too soon");
    while (!the_core->top.irq) the_core->cycle();
    say("waited", vernier_wait(&core, 1));
    check(!the_core->top.irq, "the interrupt is not acknowledged");
    say("cycles", vernier_cycles(&core));
    std::vector<int16_t> logits(VERNIER_PROGRAM.classes);
    vernier_logits(&core, logits.data());
    std::printf("logits");
    for (const int16_t one : logits) std::printf(" %d", one);
    std::printf("\n");
}

}  // namespace

extern "C" {

uint32_t bus_read(uintptr_t address) {
    return the_core->read(static_cast<uint32_t>(address - kRegisters));
}

void bus_write(uintptr_t address, uint32_t value) {
    the_core->write(static_cast<uint32_t>(address - kRegisters), value);
}

void seen_by_core(const void* pointer, uint32_t bytes) {
    const auto* first = static_cast<const uint8_t*>(pointer);
    std::memcpy(&the_core->memory[first - the_processors.data()], first, bytes);
}

void seen_by_processor(const void* pointer, uint32_t bytes) {
    const size_t first = static_cast<const uint8_t*>(pointer) - the_processors.data();
    std::memcpy(&the_processors[first], &the_core->memory[first], bytes);
}

}

int main(int argc, char** argv) {
    if (argc < 5) fail("main MEMORY PIXELS LATENCY STALL BROKEN...");
    const Bytes image = content(argv[1]), pixels = content(argv[2]);
    check(image.size() == VERNIER_PROGRAM.memory_bytes, "memory has another size");
    check(pixels.size() == VERNIER_PROGRAM.image_bytes, "the image has another size");
    the_processors.resize((image.size() + 0xffff) & ~size_t{0xffff});
    Core simulated(the_processors.size(), std::strtoull(argv[3], nullptr, 0),
                   static_cast<unsigned>(std::strtoul(argv[4], nullptr, 0)));
    the_core = &simulated;
    vernier core;
    refusals(core, image);
    say("loaded", vernier_load(&core, &VERNIER_PROGRAM, image.data()));
    vernier_interrupts(&core, 1);
    for (int index = 5; index < argc; ++index)
        broken_run(core, pixels, std::strtoull(argv[index], nullptr, 0));
    whole_run(core, pixels);
    return 0;
}
