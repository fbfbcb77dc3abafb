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

enum vernier_result vernier_start(struct vernier *core, const uint8_t *pixels) {
    uint8_t *image;
    uint32_t index, count, bytes;

    if (core->program == NULL) return VERNIER_NO_PROGRAM;
    if (get(core, VERNIER_STATUS) & VERNIER_STATUS_BUSY_MASK) return VERNIER_BUSY;
    image = core->memory + core->program->image;
    count = core->program->image_bytes / 3;
    bytes = core->program->pixel_bytes;
    if (pixels != NULL)
        for (index = 0; index < count; ++index)
            memcpy(image + bytes * index, pixels + 3 * index, 3);
    VERNIER_CLEAN(image, bytes * count);
    vernier_acknowledge(core);
    put(core, VERNIER_CONTROL, VERNIER_CONTROL_START_MASK);
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
    const uint8_t *bytes = core->memory + core->program->logits;
    uint32_t index;

    for (index = 0; index < core->program->classes; ++index) {
        const int32_t value = bytes[2 * index] | bytes[2 * index + 1] << 8;
        logits[index] = (int16_t)(value >= 0x8000 ? value - 0x10000 : value);
    }
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
