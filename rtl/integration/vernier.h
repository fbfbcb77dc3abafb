/* Driver of a Vernier core, for programs without an operating system. It is C99, allocates nothing,
 * and needs memcpy only. SPDX-License-Identifier: Apache-2.0
 *
 * The core reads and writes memory by itself: a program, an image in it, and the logits. What is
 * particular about a system can be defined before this file is read, as with -include:
 *
 *   VERNIER_READ32(address), VERNIER_WRITE32(address, value)
 *       access a register; without them, as memory is accessed
 *   VERNIER_CLEAN(pointer, bytes)
 *       has the core see what has been written: caches are written back, and it is done before the
 *       next register is accessed
 *   VERNIER_INVALIDATE(pointer, bytes)
 *       has the processor see what the core has written
 *
 * Without the last two, the compiler keeps the order; a processor with data caches needs them.
 */
#ifndef VERNIER_H
#define VERNIER_H

#include <stdint.h>

#include "vernier_registers.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of a program; sim.compile --c-header writes one. Addresses are those of the program, from 0 on. */
struct vernier_program {
    uint32_t config[VERNIER_CONFIG_COUNT]; /* of the core that it is for */
    uint32_t encoding;                     /* version of its instructions */
    uint32_t memory_bytes;                 /* of memory.bin */
    uint32_t stream, stream_bytes;         /* instructions, with their payloads */
    uint32_t image, image_bytes;           /* pixels, as they are given: rows of red, green, blue */
    uint32_t colours, pixel_bytes;         /* of one as given, 3, and in memory, then zeros */
    uint32_t logits, classes;              /* 16 bits each, the low byte first */
    uint32_t image_space, logits_space;    /* bytes of memory that are theirs */
    int32_t logit_point;                   /* fractional bits of a logit */
};

struct vernier {
    uintptr_t registers;
    uint8_t *memory;       /* as the processor sees it */
    uint32_t memory_bytes;
    const struct vernier_program *program;
};

enum vernier_result {
    VERNIER_OK,
    VERNIER_NO_CORE,       /* there is no core at this address */
    VERNIER_OTHER_TABLE,   /* its registers are of another version than this driver */
    VERNIER_BAD_MEMORY,    /* the core cannot have its memory there */
    VERNIER_OTHER_ENCODING, /* the program has instructions of another version */
    VERNIER_OTHER_CONFIG,  /* the program is for another core */
    VERNIER_TOO_LARGE,     /* the program needs more memory */
    VERNIER_NO_PROGRAM,    /* none has been loaded */
    VERNIER_BUSY,          /* a run is going on */
    VERNIER_FAILED,        /* the run has ended with an error: vernier_failure() */
    VERNIER_TIMEOUT,       /* the run has not ended yet */
    VERNIER_NO_PLACE       /* there are less places, or more images than a start can have */
};

struct vernier_error {
    uint32_t status;       /* 1: illegal instruction, 2: memory has answered with an error */
    uint32_t index;        /* instructions that had been carried out */
    uint32_t source;       /* VERNIER_ERROR_SOURCE_IS_... */
    uint32_t address;      /* from the beginning of the core's memory on */
};

/* Identify a core, and give it memory, at `memory` for the processor and at `base` on the core's
 * bus, a multiple of 4 KiB. */
enum vernier_result vernier_open(struct vernier *core, uintptr_t registers, void *memory,
                                 uint64_t base, uint32_t memory_bytes);

/* Put a program into the core's memory, from `image`, the bytes of memory.bin, or NULL if they are
 * there. `program` must stay. */
enum vernier_result vernier_load(struct vernier *core, const struct vernier_program *program,
                                 const void *image);

/* Begin a run, with program->image_bytes of pixels, or NULL if they are there. */
enum vernier_result vernier_start(struct vernier *core, const uint8_t *pixels);

/* Several images: behind the program there are places, each for an image and its logits, as many as
 * the core's memory has room for. Images can be put into places while a run goes on that has not to
 * do with these; one start then takes `count` of them, from place `first` on, one after the other.
 * It ends, and raises its interrupt, when the last one is done, or after the first that fails. */
uint32_t vernier_places(const struct vernier *core);
enum vernier_result vernier_put(const struct vernier *core, uint32_t place, const uint8_t *pixels);
enum vernier_result vernier_start_places(struct vernier *core, uint32_t first, uint32_t count);

/* Images of the present or last start that are done. */
uint32_t vernier_done(const struct vernier *core);

/* Those of them whose answer was sure enough for the first network of a cascade. */
uint32_t vernier_exited(const struct vernier *core);

/* Read the logits of a place whose image is done. */
enum vernier_result vernier_logits_of(const struct vernier *core, uint32_t place, int16_t *logits);

/* Wait for the end of a run, and acknowledge its interrupt. It looks `polls` times, or, if that is
 * 0, for ever. */
enum vernier_result vernier_wait(struct vernier *core, uint32_t polls);

/* Read program->classes logits, after a run. */
void vernier_logits(const struct vernier *core, int16_t *logits);

/* What was wrong with the last run. */
struct vernier_error vernier_failure(const struct vernier *core);

/* Cycles of the last run; of several images, of the last one. */
uint64_t vernier_cycles(const struct vernier *core);

/* Raise the interrupt line at the end of a run from now on, or not. */
void vernier_interrupts(const struct vernier *core, int enable);

/* Acknowledge the interrupt; return whether there was one. */
int vernier_acknowledge(const struct vernier *core);

#ifdef __cplusplus
}
#endif

#endif
