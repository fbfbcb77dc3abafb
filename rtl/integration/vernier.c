/* Driver of a Vernier core; see vernier.h. SPDX-License-Identifier: Apache-2.0 */
#include "vernier.h"

#include <stddef.h>
#include <string.h>

#ifndef VERNIER_READ32
#define VERNIER_READ32(address) (*(const volatile uint32_t *)(address))
#endif
#ifndef VERNIER_WRITE32
#define VERNIER_WRITE32(address, value) (*(volatile uint32_t *)(address) = (value))
#endif
#ifndef VERNIER_CLEAN
#define VERNIER_CLEAN(pointer, bytes) keep_order(pointer, bytes)
#define VERNIER_KEEPS_ORDER
#endif
#ifndef VERNIER_INVALIDATE
#define VERNIER_INVALIDATE(pointer, bytes) keep_order(pointer, bytes)
#define VERNIER_KEEPS_ORDER
#endif

#define ENDS (VERNIER_INTERRUPT_PENDING_DONE_MASK | VERNIER_INTERRUPT_PENDING_FAILED_MASK)

#define LINE 64u /* bytes of a cache line, or more */

#ifdef VERNIER_KEEPS_ORDER
/* What a compiler does not know may access memory: a call of it keeps the order. */
static void nothing(const volatile void *pointer, size_t bytes) {
    (void)pointer;
    (void)bytes;
}

static void (*const volatile keep_order)(const volatile void *, size_t) = nothing;
#endif

static uint32_t get(const struct vernier *core, uint32_t offset) {
    return VERNIER_READ32(core->registers + offset);
}

static void put(const struct vernier *core, uint32_t offset, uint32_t value) {
    VERNIER_WRITE32(core->registers + offset, value);
}

static uint32_t field(uint32_t word, uint32_t mask, uint32_t shift) {
    return (word & mask) >> shift;
}

enum vernier_result vernier_open(struct vernier *core, uintptr_t registers, void *memory,
                                 uint64_t base, uint32_t memory_bytes) {
    core->registers = registers;
    core->memory = memory;
    core->memory_bytes = memory_bytes;
    core->program = NULL;
    if (get(core, VERNIER_ID) != VERNIER_IDENTITY) return VERNIER_NO_CORE;
    if (get(core, VERNIER_VERSION) != VERNIER_TABLE_VERSION) return VERNIER_OTHER_TABLE;
    if (get(core, VERNIER_STATUS) & VERNIER_STATUS_BUSY_MASK) return VERNIER_BUSY;
    /* Bits that the core's bus does not have, or that are not those of a multiple, are not kept. */
    put(core, VERNIER_BASE_LOW, (uint32_t)base);
    put(core, VERNIER_BASE_HIGH, (uint32_t)(base >> 32));
    if (get(core, VERNIER_BASE_LOW) != (uint32_t)base
        || get(core, VERNIER_BASE_HIGH) != (uint32_t)(base >> 32)
        || memory_bytes > get(core, VERNIER_MEMORY_BYTES))
        return VERNIER_BAD_MEMORY;
    vernier_interrupts(core, 0);
    vernier_acknowledge(core);
    return VERNIER_OK;
}

enum vernier_result vernier_load(struct vernier *core, const struct vernier_program *program,
                                 const void *image) {
    uint32_t index;

    if (get(core, VERNIER_STATUS) & VERNIER_STATUS_BUSY_MASK) return VERNIER_BUSY;
    core->program = NULL;
    if (get(core, VERNIER_ENCODING) != program->encoding) return VERNIER_OTHER_ENCODING;
    for (index = 0; index < VERNIER_CONFIG_COUNT; ++index)
        if (get(core, VERNIER_CONFIG_FIRST + 4 * index) != program->config[index])
            return VERNIER_OTHER_CONFIG;
    if (program->memory_bytes > core->memory_bytes) return VERNIER_TOO_LARGE;
    if (image != NULL) memcpy(core->memory, image, program->memory_bytes);
    VERNIER_CLEAN(core->memory, program->memory_bytes);
    put(core, VERNIER_STREAM, program->stream);
    put(core, VERNIER_STREAM_BYTES, program->stream_bytes);
    core->program = program;
    return VERNIER_OK;
}

/* Put pixels where the program has its image, `offset` bytes further. */
static void put_image(const struct vernier *core, uint32_t offset, const uint8_t *pixels) {
    const struct vernier_program *program = core->program;
    uint8_t *image = core->memory + program->image + offset;
    uint32_t index;

    if (pixels != NULL)
        for (index = 0; index < program->image_bytes / program->colours; ++index)
            memcpy(image + program->pixel_bytes * index, pixels + program->colours * index,
                   program->colours);
    VERNIER_CLEAN(image, program->pixel_bytes * (program->image_bytes / program->colours));
}

static void get_logits(const struct vernier *core, uint32_t offset, int16_t *logits) {
    const uint8_t *bytes = core->memory + core->program->logits + offset;
    uint32_t index;

    for (index = 0; index < core->program->classes; ++index) {
        const int32_t value = bytes[2 * index] | bytes[2 * index + 1] << 8;
        logits[index] = (int16_t)(value >= 0x8000 ? value - 0x10000 : value);
    }
}

/* Begin a run of images whose places are `stride` bytes apart. */
static void start(struct vernier *core, uint32_t image, uint32_t logits, uint32_t stride,
                  uint32_t count) {
    put(core, VERNIER_IMAGE_OFFSET, image);
    put(core, VERNIER_LOGITS_OFFSET, logits);
    put(core, VERNIER_IMAGE_STRIDE, stride);
    put(core, VERNIER_LOGITS_STRIDE, stride);
    put(core, VERNIER_IMAGES, count);
    vernier_acknowledge(core);
    put(core, VERNIER_CONTROL, VERNIER_CONTROL_START_MASK);
}

static uint32_t lines(uint32_t bytes) {
    return (bytes + LINE - 1) / LINE * LINE;
}

/* Bytes of a place, whose logits are behind its image. */
static uint32_t place_bytes(const struct vernier_program *program) {
    return lines(program->image_space) + lines(program->logits_space);
}

/* What is added to the program's address of its image, or logits, for a place. */
static uint32_t image_offset(const struct vernier_program *program, uint32_t place) {
    return lines(program->memory_bytes) + place * place_bytes(program) - program->image;
}

static uint32_t logits_offset(const struct vernier_program *program, uint32_t place) {
    return image_offset(program, place) + program->image + lines(program->image_space)
        - program->logits;
}

enum vernier_result vernier_start(struct vernier *core, const uint8_t *pixels) {
    if (core->program == NULL) return VERNIER_NO_PROGRAM;
    if (get(core, VERNIER_STATUS) & VERNIER_STATUS_BUSY_MASK) return VERNIER_BUSY;
    put_image(core, 0, pixels);
    start(core, 0, 0, 0, 1);
    return VERNIER_OK;
}

uint32_t vernier_places(const struct vernier *core) {
    if (core->program == NULL || lines(core->program->memory_bytes) > core->memory_bytes) return 0;
    return (core->memory_bytes - lines(core->program->memory_bytes)) / place_bytes(core->program);
}

enum vernier_result vernier_put(const struct vernier *core, uint32_t place,
                                const uint8_t *pixels) {
    if (core->program == NULL) return VERNIER_NO_PROGRAM;
    if (place >= vernier_places(core)) return VERNIER_NO_PLACE;
    put_image(core, image_offset(core->program, place), pixels);
    return VERNIER_OK;
}

enum vernier_result vernier_start_places(struct vernier *core, uint32_t first, uint32_t count) {
    const uint32_t places = vernier_places(core);

    if (core->program == NULL) return VERNIER_NO_PROGRAM;
    if (first >= places || count == 0 || count > places - first
        || count > VERNIER_IMAGES_COUNT_MASK)
        return VERNIER_NO_PLACE;
    if (get(core, VERNIER_STATUS) & VERNIER_STATUS_BUSY_MASK) return VERNIER_BUSY;
    start(core, image_offset(core->program, first), logits_offset(core->program, first),
          place_bytes(core->program), count);
    return VERNIER_OK;
}

uint32_t vernier_done(const struct vernier *core) {
    return field(get(core, VERNIER_IMAGES_DONE), VERNIER_IMAGES_DONE_COUNT_MASK,
                 VERNIER_IMAGES_DONE_COUNT_SHIFT);
}

uint32_t vernier_exited(const struct vernier *core) {
    return field(get(core, VERNIER_IMAGES_DONE), VERNIER_IMAGES_DONE_EXITED_MASK,
                 VERNIER_IMAGES_DONE_EXITED_SHIFT);
}

enum vernier_result vernier_logits_of(const struct vernier *core, uint32_t place,
                                      int16_t *logits) {
    uint32_t offset;

    if (core->program == NULL) return VERNIER_NO_PROGRAM;
    if (place >= vernier_places(core)) return VERNIER_NO_PLACE;
    offset = logits_offset(core->program, place);
    VERNIER_INVALIDATE(core->memory + core->program->logits + offset, 2 * core->program->classes);
    get_logits(core, offset, logits);
    return VERNIER_OK;
}

enum vernier_result vernier_wait(struct vernier *core, uint32_t polls) {
    uint32_t left = polls;
    uint32_t status;

    if (core->program == NULL) return VERNIER_NO_PROGRAM;
    while (!((status = get(core, VERNIER_STATUS)) & VERNIER_STATUS_DONE_MASK))
        if (polls != 0 && --left == 0) return VERNIER_TIMEOUT;
    vernier_acknowledge(core);
    if (field(status, VERNIER_STATUS_ERROR_MASK, VERNIER_STATUS_ERROR_SHIFT))
        return VERNIER_FAILED;
    VERNIER_INVALIDATE(core->memory + core->program->logits, 2 * core->program->classes);
    return VERNIER_OK;
}

void vernier_logits(const struct vernier *core, int16_t *logits) {
    get_logits(core, 0, logits);
}

struct vernier_error vernier_failure(const struct vernier *core) {
    struct vernier_error error;

    error.status = field(get(core, VERNIER_STATUS), VERNIER_STATUS_ERROR_MASK,
                         VERNIER_STATUS_ERROR_SHIFT);
    error.index = get(core, VERNIER_INDEX);
    error.source = field(get(core, VERNIER_ERROR_SOURCE), VERNIER_ERROR_SOURCE_SOURCE_MASK,
                         VERNIER_ERROR_SOURCE_SOURCE_SHIFT);
    error.address = get(core, VERNIER_ERROR_ADDRESS);
    return error;
}

uint64_t vernier_cycles(const struct vernier *core) {
    return (uint64_t)get(core, VERNIER_CYCLES_HIGH) << 32 | get(core, VERNIER_CYCLES_LOW);
}

void vernier_interrupts(const struct vernier *core, int enable) {
    put(core, VERNIER_INTERRUPT_ENABLE, enable ? ENDS : 0);
}

int vernier_acknowledge(const struct vernier *core) {
    const uint32_t pending = get(core, VERNIER_INTERRUPT_PENDING);

    put(core, VERNIER_INTERRUPT_PENDING, pending);
    return pending != 0;
}
