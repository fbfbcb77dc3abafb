// What the C driver is compiled with in driver_main.cpp's place: registers behind a simulated bus.
#pragma once
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
uint32_t bus_read(uintptr_t address);
void bus_write(uintptr_t address, uint32_t value);
void seen_by_core(const void* pointer, uint32_t bytes);
void seen_by_processor(const void* pointer, uint32_t bytes);
#ifdef __cplusplus
}
#endif
#define VERNIER_READ32(address) bus_read(address)
#define VERNIER_WRITE32(address, value) bus_write(address, value)
#define VERNIER_CLEAN(pointer, bytes) seen_by_core(pointer, bytes)
#define VERNIER_INVALIDATE(pointer, bytes) seen_by_processor(pointer, bytes)
