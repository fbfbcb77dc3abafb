// Accesses to the registers of an exported core in any order: starts while it is busy, resets in any
// cycle, settings that change under a run, memory that fails.
//
//   main fuzz SEED EPISODES MEMORY STREAM STREAM_BYTES LOGITS LOGITS_BYTES MOST_CYCLES LATENCY STALL
//
// An episode is a start, and what is done to the core until it has ended. Each access is answered, each
// start ends within MOST_CYCLES with a status, unless it is reset, and what nobody has disturbed
// ends as it did the first time, with the same logits. What it prints is how often each has been.
#pragma once

#include <map>

#include "exported_core.h"
#include "vernier_registers.h"

namespace {

class Fuzz {
public:
    explicit Fuzz(char** argv)
        : random_(number(argv[0])), episodes_(number(argv[1])), image_(content(argv[2])),
          stream_(number(argv[3])), stream_bytes_(number(argv[4])), logits_(number(argv[5])),
          logits_bytes_(number(argv[6])), most_(number(argv[7])),
          core_((image_.size() + 0xffff) & ~size_t{0xffff}, number(argv[8]),
                static_cast<unsigned>(number(argv[9]))) {}

    void run() {
        fresh();
        expected_ = undisturbed();
        for (uint64_t left = episodes_; left; --left) {
            episode();
        }
        for (const auto& [name, count] : seen_) std::printf("%s %llu\n", name.c_str(), count);
    }

private:
    static constexpr uint32_t kMostImages = 3;

    static uint64_t number(const char* text) { return std::strtoull(text, nullptr, 0); }

    uint32_t draw(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

    uint32_t word() { return static_cast<uint32_t>(random_()); }

    // Memory as it was, and settings that are right.
    void fresh() {
        std::copy(image_.begin(), image_.end(), core_.memory.begin());
        core_.broken.clear();
        core_.write(VERNIER_STREAM, static_cast<uint32_t>(stream_));
        core_.write(VERNIER_STREAM_BYTES, static_cast<uint32_t>(stream_bytes_));
        core_.write(VERNIER_BASE_LOW, static_cast<uint32_t>(kBase));
        core_.write(VERNIER_BASE_HIGH, static_cast<uint32_t>(kBase >> 32));
        for (const uint32_t name : {VERNIER_IMAGE_OFFSET, VERNIER_LOGITS_OFFSET,
                                    VERNIER_IMAGE_STRIDE, VERNIER_LOGITS_STRIDE})
            core_.write(name, 0);
        core_.write(VERNIER_IMAGES, draw(kMostImages + 1));  // all of them the same one
    }

    uint32_t status() { return core_.read(VERNIER_STATUS); }

    bool busy() { return status() & VERNIER_STATUS_BUSY_MASK; }

    uint32_t error() {
        return (status() & VERNIER_STATUS_ERROR_MASK) >> VERNIER_STATUS_ERROR_SHIFT;
    }

    void start() {
        images_ = std::max(core_.read(VERNIER_IMAGES), 1u);
        check(core_.write_any(VERNIER_CONTROL, 1).fine, "a start is refused, and nothing is going on");
    }

    // Waits until the run has ended, and returns how.
    uint32_t ended(uint32_t runs) {
        for (uint64_t left = kMostImages * most_; busy(); --left) {
            check(left, "a run does not end");
            core_.cycle();
        }
        check(status() & VERNIER_STATUS_DONE_MASK, "a run has ended, and is not done");
        check(core_.read(VERNIER_RUNS) == runs + 1, "a run is not counted, or more than once");
        const uint32_t said = error();
        check(said <= 2, "a status that there is not");
        check((said == 2) == (core_.read(VERNIER_ERROR_SOURCE) != 0), "an error of memory, unsaid");
        const uint32_t images = core_.read(VERNIER_IMAGES_DONE);
        const uint32_t done = images & VERNIER_IMAGES_DONE_COUNT_MASK;
        check(said == 0 ? done == images_ : done < images_, "an image is missing, or one too much");
        check(images >> VERNIER_IMAGES_DONE_EXITED_SHIFT <= done, "more EXITs than images");
        ++seen_["images_" + std::to_string(done)];
        ++seen_["status_" + std::to_string(said)];
        return said;
    }

    Bytes undisturbed() {
        const uint32_t runs = core_.read(VERNIER_RUNS);
        start();
        check(ended(runs) == 0, "the program does not run");
        return logits();
    }

    Bytes logits() const {
        const auto first = core_.memory.begin() + static_cast<long>(logits_);
        return {first, first + static_cast<long>(logits_bytes_)};
    }

    // Any access but to CONTROL; what is read of constants stays the same.
    void access() {
        const uint32_t address = draw(2) ? 4 * draw(0x80) : VERNIER_CONTROL + 4 * draw(16);
        if (address == VERNIER_CONTROL) return;
        if (draw(2)) {
            core_.read_any(address);
            ++seen_["reads"];
        } else {
            core_.write_any(address, draw(2) ? word() : draw(64), draw(4) ? 0xf : draw(16));
            ++seen_["writes"];
        }
        check(core_.read(VERNIER_ID) == VERNIER_IDENTITY, "it is no core any more");
    }

    void episode() {
        fresh();
        bool right = true, broken = false;
        switch (episode_++ % 8) {
        case 0:  // a stream that is nowhere
            core_.write(VERNIER_STREAM, 0x80000000 | (word() & ~0xfu));
            right = false;
            break;
        case 1:  // memory that is nowhere
            core_.write(VERNIER_BASE_HIGH, 0);
            right = false;
            break;
        case 2:  // a stream that ends too early
            core_.write(VERNIER_STREAM_BYTES, draw(static_cast<uint32_t>(stream_bytes_ / 16)) * 16);
            right = false;
            break;
        case 3:  // memory that fails at a place of the program
            core_.broken = {stream_ + 4 * draw(static_cast<uint32_t>(stream_bytes_ / 4))};
            broken = true;  // unless nobody needs it
            break;
        }
        core_.write(VERNIER_INTERRUPT_PENDING, 3);
        const uint32_t runs = core_.read(VERNIER_RUNS);
        start();
        for (uint32_t left = draw(12); left; --left) {
            if (draw(3) == 0) {
                const bool before = busy(), refused = !core_.write_any(VERNIER_CONTROL, 1).fine;
                if (!refused) {  // it has ended in the meantime: this is another run, of whatever
                    check(!before || core_.read(VERNIER_RUNS) == runs + 1,
                          "a second run has begun during the first");
                    core_.reset(1 + draw(3));
                    check(!busy() && core_.read(VERNIER_RUNS) == 0, "reset has left something");
                    ++seen_["ended_in_the_meantime"];
                    return;
                }
                check(refused, "a start is not refused");
                ++seen_["refused"];
            }
            access();
            for (uint32_t wait = draw(4) ? draw(20) : draw(3000); wait; --wait) core_.cycle();
        }
        if (draw(3) == 0) {
            for (uint32_t wait = draw(3000); wait; --wait) core_.cycle();
            core_.reset(1 + draw(3));
            check(status() == 0 && core_.read(VERNIER_RUNS) == 0
                  && core_.read(VERNIER_INTERRUPT_PENDING) == 0 && core_.read(VERNIER_STREAM) == 0
                  && core_.read(VERNIER_ERROR_SOURCE) == 0, "reset has left something");
            ++seen_["resets"];
            fresh();
            check(undisturbed() == expected_, "other logits after a reset");
            return;
        }
        const uint32_t said = ended(runs);
        if (!right) {
            check(said != 0, "what is wrong is not said");
            return;
        }
        if (broken && said == 2) return;
        check(said == 0, "what is right has failed");
        check(logits() == expected_, "other logits, though nothing was wrong");
        ++seen_["undisturbed"];
    }

    std::mt19937_64 random_;
    uint64_t episodes_;
    Bytes image_, expected_;
    uint32_t images_ = 1, episode_ = 0;
    uint64_t stream_, stream_bytes_, logits_, logits_bytes_, most_;
    Core core_;
    std::map<std::string, unsigned long long> seen_;
};

}  // namespace
