// Runs the C driver of an exported core on the core itself: its registers and its memory are behind
// AXI4, or, with -DWISHBONE, behind Wishbone.
//
//   main MEMORY PIXELS LATENCY STALL BROKEN...
//
// MEMORY and PIXELS are files; LATENCY is in cycles, STALL in percent of the cycles of each channel;
// at each address BROKEN of the program, a run is tried with memory that answers there with an error.
// The processor sees another memory than the core: what the driver does not clean or invalidate stays
// unknown. Each line that is printed has a name and a value. What else it can do is in register_fuzz.h.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "exported_core.h"
#include "register_fuzz.h"
#include "vernier_program.h"

namespace {

constexpr uintptr_t kRegisters = 0x40000000;

Core* the_core;
Bytes the_processors;

void say(const char* what, unsigned long long value) { std::printf("%s %llu\n", what, value); }

void print(const char* name, const std::vector<int16_t>& logits) {
    std::printf("%s", name);
    for (const int16_t one : logits) std::printf(" %d", one);
    std::printf("\n");
}

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
    other = VERNIER_PROGRAM;
    ++other.encoding;
    say("of_another_encoding", vernier_load(&core, &other, image.data()));
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
    print("logits", logits);
}

// Images one after the other: two of one start, while a third comes, and that.
void several_runs(vernier& core, const Bytes& pixels) {
    Bytes other(pixels);
    for (uint8_t& one : other) one = static_cast<uint8_t>(255 - one);
    const uint32_t places = vernier_places(&core);
    check(places >= 3, "there is no room for three images");
    std::vector<int16_t> logits(VERNIER_PROGRAM.classes);
    say("no_place", vernier_start_places(&core, places, 1));
    say("no_images", vernier_start_places(&core, 0, 0));
    say("too_many", vernier_start_places(&core, 1, places));
    say("put_nowhere", vernier_put(&core, places, pixels.data()));
    say("read_nowhere", vernier_logits_of(&core, places, logits.data()));
    check(vernier_put(&core, 0, pixels.data()) == VERNIER_OK
          && vernier_put(&core, 1, other.data()) == VERNIER_OK
          && vernier_start_places(&core, 0, 2) == VERNIER_OK, "two images do not start");
    check(vernier_done(&core) == 0, "an image is done before it has begun");
    say("places_started_twice", vernier_start_places(&core, 2, 1));
    say("put_while_busy", vernier_put(&core, 2, pixels.data()));
    while (vernier_done(&core) == 0) the_core->cycle();
    check(!the_core->top.irq && vernier_wait(&core, 1) == VERNIER_TIMEOUT,
          "the end of one image is that of all");
    say("places_waited", vernier_wait(&core, 0));
    check(vernier_done(&core) == 2, "two images are not done");
    check(vernier_exited(&core) == 0, "an image has ended early, and there is no cascade");
    check(vernier_start_places(&core, 2, 1) == VERNIER_OK && vernier_wait(&core, 0) == VERNIER_OK,
          "a third image does not run");
    for (uint32_t place = 0; place < 3; ++place) {
        check(vernier_logits_of(&core, place, logits.data()) == VERNIER_OK, "no logits");
        print(("logits_" + std::to_string(place)).c_str(), logits);
    }
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
    if (argc == 12 && std::string(argv[1]) == "fuzz") {
        Fuzz(argv + 2).run();
        return 0;
    }
    if (argc < 5) fail("main MEMORY PIXELS LATENCY STALL BROKEN...");
    const Bytes image = content(argv[1]), pixels = content(argv[2]);
    check(image.size() == VERNIER_PROGRAM.memory_bytes, "memory has another size");
    check(pixels.size() == VERNIER_PROGRAM.image_bytes, "the image has another size");
    the_processors.resize((image.size() + 3 * (pixels.size() * 4 / 3 + 4096) + 0xffff)
                          & ~size_t{0xffff});
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
    several_runs(core, pixels);
    return 0;
}
